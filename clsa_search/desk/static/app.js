// The page of the search desk: the first client of its own API (api/docs). No build, no network.

const $ = (id) => document.getElementById(id);
const CALENDAR_FROM = 1e8; // seconds; smaller times count from the beginning of a video
const VERDICTS = [
  { key: "very likely", css: "likely", title: "Very likely", note: "the same clothes and build" },
  { key: "possible", css: "possible", title: "Possible", note: "look at them" },
  { key: "as alike as strangers are", css: "stranger", title: "As alike as strangers are", note: "" },
];
const state = {
  gallery: null, query: null, views: [], adding: false, answer: null, sorted: [], open: null,
  said: new Map(), marked: new Set(), page: 0, lanes: [], search: null,
  persons: new Map(), person: null, saying: Promise.resolve(),
};

// ---------------------------------------------------------------- small helpers

/** Make an element: properties, event listeners (on...), data and ARIA attributes, children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElementNS(
    properties.svg ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "svg" || value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (name in element && !properties.svg && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const svg = (tag, properties, ...children) => make(tag, { svg: true, ...properties }, ...children);
const plural = (count, noun, many = `${noun}s`) => `${count.toLocaleString("en")} ${count === 1 ? noun : many}`;
const address = (path) => `api/v1/${path}`;

function notify(message, isError = true) {
  const notice = make("div", { className: isError ? "notice error" : "notice" },
    make("span", { text: message }),
    make("button", { type: "button", text: "×", "aria-label": "Close", onclick: () => notice.remove() }));
  $("notices").append(notice);
  while ($("notices").children.length > 3) $("notices").firstChild.remove();
  setTimeout(() => notice.remove(), isError ? 15000 : 6000);
}

/** Call the API; an error of it becomes an Error with its message. */
async function api(path, { method = "GET", json, body, type, signal } = {}) {
  const options = { method, signal, headers: {} };
  if (json !== undefined) [body, type] = [JSON.stringify(json), "application/json"];
  if (body !== undefined) Object.assign(options, { body, headers: { "content-type": type } });
  let answer;
  try {
    answer = await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The desk does not answer. Is clsa-search serve still running?");
  }
  if (answer.status === 401) askForToken();
  if (!answer.ok) {
    const fault = await answer.json().catch(() => null);
    throw new Error(fault?.error?.message ?? `The desk answered with status ${answer.status}.`);
  }
  if (answer.status === 204) return null;
  return answer.headers.get("content-type")?.includes("json") ? answer.json() : answer.blob();
}

/** Run a task of the user; show its fault. */
async function attempt(task, element = null) {
  element?.setAttribute("aria-busy", "true");
  element?.classList.add("busy");
  try {
    return await task();
  } catch (error) {
    if (error.name !== "AbortError") notify(error.message);
    return undefined;
  } finally {
    element?.removeAttribute("aria-busy");
    element?.classList.remove("busy");
  }
}

// ---------------------------------------------------------------- times

const zone = () => state.gallery?.timezone ?? undefined;

function formatTime(seconds, withDate = true) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds >= CALENDAR_FROM) {
    const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone() };
    if (withDate) Object.assign(options, { year: "numeric", month: "2-digit", day: "2-digit" });
    return new Intl.DateTimeFormat("sv-SE", options).format(new Date(seconds * 1000));
  }
  const tenths = Math.round(seconds * 10);
  const [hours, minutes] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60];
  const rest = (tenths % 600) / 10;
  return `${hours}:${String(minutes).padStart(2, "0")}:${rest.toFixed(rest % 1 ? 1 : 0).padStart(rest % 1 ? 4 : 2, "0")}`;
}

function formatSpan(first, last) {
  if (first === null) return "time unknown";
  if (last === null || last - first < 0.05) return formatTime(first);
  const sameDay = formatTime(first).slice(0, 10) === formatTime(last).slice(0, 10) && first >= CALENDAR_FROM;
  return `${formatTime(first)} – ${formatTime(last, !sameDay)}`;
}

/** Return seconds from "2026-05-01T12:00", "2026-05-01 12:00:30", "1:30" or "90"; null for none. */
function parseTime(text, name) {
  text = text.trim();
  if (!text) return null;
  const date = text.match(/^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d?):(\d\d)(?::(\d\d(?:\.\d+)?))?)?$/);
  if (date) {
    const [, year, month, day, hour = 0, minute = 0, second = 0] = date;
    const plain = Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
    const isDay = new Date(plain * 1000).toISOString().startsWith(`${year}-${month}-${day}`); // no 31 February
    if (isDay && hour < 24 && minute < 60 && second < 60) return plain - zoneOffset(plain - zoneOffset(plain));
  } else if (/^((\d+:)?\d+:)?\d+(\.\d+)?$/.test(text)) {
    const parts = text.split(":").map(Number);
    if (parts.slice(1).every((part) => part < 60)) return parts.reduce((total, part) => 60 * total + part, 0);
  }
  throw new Error(`${name}: "${text}"; expected a time such as ${exampleTime()}`);
}

/** Return the first time of the footage, as text. */
function exampleTime() {
  const times = state.lanes.flatMap((lane) => lane.spans.map(([first]) => first)).concat((state.answer?.matches ?? []).map((one) => one.first));
  const dates = times.filter((one) => one >= CALENDAR_FROM);
  const known = dates.length ? dates : times.filter((one) => one !== null);
  return known.length ? formatTime(known.reduce((least, one) => Math.min(least, one))) : "2026-05-01 12:00";
}

/** Return the seconds that the desk's clock is ahead of UTC. */
function zoneOffset(seconds) {
  const text = formatTime(seconds).replace(" ", "T");
  return Date.parse(`${text}Z`) / 1000 - Math.floor(seconds);
}

// ---------------------------------------------------------------- whom: image, boxes, views

async function loadImage(file) {
  if (!file) return;
  if (file.size > 20 * 2 ** 20) return notify(`${file.name}: is larger than 20 MB; expected a smaller image`);
  if (file.type && !file.type.startsWith("image/")) return notify(`${file.name}: is no image; expected a JPEG, PNG, WebP or another image`);
  const hint = $("hint").textContent;
  setHint("Looking for people …");
  await attempt(async () => {
    const type = file.type || "image/jpeg"; // browsers do not know all types
    try {
      const query = await api("queries", { method: "POST", body: file, type });
      showQuery(query, file.name, await sumBytes(file));
    } catch (error) {
      setHint(hint);
      throw error;
    }
  }, $("drop"));
}

/** Take a frame of the gallery as query; with a box, in shares of its sides, only the person there. */
async function loadFrame(request, box) {
  const path = box ? `queries?box=${encodeURIComponent(box)}` : "queries";
  await attempt(async () => showQuery(await api(path, { method: "POST", json: request })), $("whom"));
}

/** Search the person that the address names: ?detection=ID, ?tracklet=ID, or ?source=ID&t=SECONDS&box=X1,Y1,X2,Y2. */
async function openLink() {
  const link = Object.fromEntries(new URLSearchParams(location.search));
  const kind = ["detection", "tracklet"].find((one) => link[one]);
  if (kind) {
    const place = `${kind}s/${encodeURIComponent(link[kind])}`;
    const { boxes, camera, name } = await api(place);
    const title = `${camera ?? name}, ${formatTime(boxes[0].time)}`;
    addView({ [kind]: Number(link[kind]) }, title, make("img", { src: address(`${place}/crop.jpg`), alt: title }));
  } else if (link.source) {
    await loadFrame({ source: link.source, ...(link.t ? { seconds: Number(link.t) } : {}) }, link.box);
  }
}

/** Return a text that tells the bytes of a file from others; it stays in this page. */
async function sumBytes(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  return `${bytes.length}-${bytes.reduce((sum, byte) => Math.imul(sum ^ byte, 16777619) >>> 0, 2166136261)}`;
}

function showQuery(query, name = query.name, identity = `${query.source}-${query.frame}`) {
  state.query = { ...query, identity };
  $("query").hidden = false;
  $("query-name").textContent = name;
  $("query-image").src = address(`queries/${query.id}/image.jpg`);
  $("query-image").alt = `${name}: ${plural(query.people.length, "detection")}`;
  $("stage").style.aspectRatio = `${query.width} / ${query.height}`;
  $("next-frame").hidden = query.time === null || query.frame === null;
  $("stage").querySelectorAll(".person").forEach((one) => one.remove());
  for (const person of [...query.people].reverse()) $("stage").append(makePersonButton(person));
  $("keep-box").hidden = true;
  setDrawing(false);
  $("query").scrollIntoView({ block: "nearest" }); // below the list of files it would not be seen
  const [only] = query.people;
  if (query.people.length === 1) return choosePerson(only);
  setHint(query.people.length
    ? `${plural(query.people.length, "person", "people")} found: click one, or draw a box.`
    : "No person was detected here: draw a box around the one you mean.");
  if (!query.people.length) setDrawing(true);
}

function place(element, [x0, y0, x1, y1], { width, height }) {
  Object.assign(element.style, {
    left: `${100 * x0 / width}%`, top: `${100 * y0 / height}%`,
    width: `${100 * (x1 - x0) / width}%`, height: `${100 * (y1 - y0) / height}%`,
  });
}

function makePersonButton(person) {
  const button = make("button", {
    type: "button", className: "person", "aria-pressed": "false",
    "aria-label": `Person ${person.index + 1}, detection score ${person.score.toFixed(2)}`,
    onclick: () => choosePerson(person),
  }, make("span", { text: person.index + 1, "aria-hidden": "true" }));
  button.dataset.index = person.index;
  place(button, person.box, state.query);
  return button;
}

function choosePerson(person) {
  const subject = person.detection ? { detection: person.detection } : { query: state.query.id, index: person.index };
  setHint(`Person ${person.index + 1} is searched.`);
  addView(subject, `person ${person.index + 1} of ${$("query-name").textContent}`, cutView(person.box));
  $("stage").querySelectorAll(".person").forEach((one) =>
    one.setAttribute("aria-pressed", String(Number(one.dataset.index) === person.index)));
}

/** Return a small picture of a box of the query's image. */
function cutView([x0, y0, x1, y1]) {
  const canvas = make("canvas", { width: 136, height: 192, role: "img" });
  const image = make("img", { src: $("query-image").src, alt: "" });
  const { width, height } = state.query;
  image.onload = () => {
    const [kx, ky] = [image.naturalWidth / width, image.naturalHeight / height];
    const scale = Math.min(136 / ((x1 - x0) * kx), 192 / ((y1 - y0) * ky));
    const [w, h] = [(x1 - x0) * kx * scale, (y1 - y0) * ky * scale];
    canvas.getContext("2d").drawImage(image, x0 * kx, y0 * ky, (x1 - x0) * kx, (y1 - y0) * ky,
      (136 - w) / 2, (192 - h) / 2, w, h);
  };
  return canvas;
}

function addView(subject, title, picture) {
  picture.setAttribute("aria-label", title);
  picture.title = title;
  if (!state.adding) turnTo(subject);
  $("keep-box").hidden = true;
  const view = { subject, title, picture };
  state.views = state.adding ? [...state.views, view] : [view];
  setAdding(false);
  showViews();
  search();
}

/**
 * Turn to a person, with the verdicts of this session on the same image and box.
 *
 * The key names the person's search in the stored verdicts. It is random: it tells nothing of the image.
 */
function turnTo(subject) {
  const { query, ...rest } = subject;
  const identity = JSON.stringify(query ? [state.query.identity, rest] : rest);
  if (!state.persons.has(identity)) {
    const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
    state.persons.set(identity, { key: bytes.map((one) => one.toString(16).padStart(2, "0")).join(""), said: new Map() });
  }
  state.person = state.persons.get(identity);
  state.said = state.person.said;
}

function showViews() {
  $("chosen").hidden = !state.views.length;
  $("views").replaceChildren(...state.views.map((view, index) => make("li", {}, view.picture,
    make("button", {
      type: "button", text: "×", "aria-label": `Do not search ${view.title}`,
      onclick: () => { state.views.splice(index, 1); showViews(); search(); },
    }))));
}

function setAdding(isAdding) {
  state.adding = isAdding;
  $("add-view").setAttribute("aria-pressed", String(isAdding));
  $("add-view").textContent = isAdding ? "Choose the other view …" : "Add another view";
}

function setHint(text) { $("hint").textContent = text; }

// Drawing: drag with a mouse at any time, with a finger after "Draw a box", or use the arrow keys.

const drawing = { isOn: false, start: null, box: null, rubber: null };

function setDrawing(isOn) {
  Object.assign(drawing, { isOn, start: null, box: null });
  drawing.rubber?.remove();
  drawing.rubber = null;
  $("draw").setAttribute("aria-pressed", String(isOn));
  $("stage").classList.toggle("drawing", isOn);
}

function showRubber(box) {
  drawing.box = box;
  drawing.rubber ??= $("stage").appendChild(make("div", { className: "rubber" }));
  place(drawing.rubber, box, state.query);
}

function pointOf(event) {
  const bounds = $("stage").getBoundingClientRect();
  const clamp = (value) => Math.min(1, Math.max(0, value));
  return [clamp((event.clientX - bounds.left) / bounds.width) * state.query.width,
    clamp((event.clientY - bounds.top) / bounds.height) * state.query.height];
}

function startDrag(event) {
  if (!state.query || event.button || (event.pointerType !== "mouse" && !drawing.isOn)) return;
  drawing.start = pointOf(event);
}

function drag(event) {
  if (!drawing.start) return;
  const [[x0, y0], [x1, y1]] = [drawing.start, pointOf(event)];
  const far = Math.max(Math.abs(x1 - x0) / state.query.width, Math.abs(y1 - y0) / state.query.height);
  if (!drawing.box && far < 0.015) return;
  event.preventDefault();
  $("stage").setPointerCapture(event.pointerId);
  showRubber([Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)]);
}

function endDrag() {
  drawing.start = null;
  if (!drawing.box) return;
  const stopClick = (event) => event.stopPropagation();
  $("stage").addEventListener("click", stopClick, { capture: true, once: true });
  setTimeout(() => $("stage").removeEventListener("click", stopClick, { capture: true }), 0);
  searchBox(drawing.box);
}

function searchBox(box) {
  const [x0, y0, x1, y1] = box;
  if (x1 - x0 < 2 || y1 - y0 < 2) return;
  setHint("The person in your box is searched.");
  $("stage").querySelectorAll(".person").forEach((one) => one.setAttribute("aria-pressed", "false"));
  const rounded = box.map((value) => Math.round(value * 10) / 10);
  addView({ query: state.query.id, box: rounded }, `box in ${$("query-name").textContent}`, cutView(box));
  setDrawing(false);
  showRubber(rounded);
  drawing.box = null; // it stays in sight only
  state.drawn = { source: state.query.source, frame: state.query.frame, box: rounded };
  $("keep-box").hidden = !state.query.source;
}

/** Store the person in the drawn box as a detection of the gallery. */
async function keepBox() {
  await attempt(async () => {
    const { detection, tracklet } = await api("detections", { method: "POST", json: state.drawn });
    $("keep-box").hidden = true;
    setHint(detection === tracklet ? "The person in your box is in the gallery now." : `The person in your box belongs to sighting ${tracklet} now.`);
    await describeGallery();
    await search();
  }, $("query"));
}

function drawByKey(event) {
  if (!drawing.isOn || !state.query) return;
  const { width, height } = state.query;
  if (event.key === "Escape") { setDrawing(false); return; }
  let [x0, y0, x1, y1] = drawing.box ?? [0.4 * width, 0.2 * height, 0.6 * width, 0.8 * height];
  if (event.key === "Enter") { event.preventDefault(); searchBox([x0, y0, x1, y1]); return; }
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  const [dx, dy] = [step[0] * width / 50, step[1] * height / 50];
  if (!event.shiftKey) [x0, y0] = [Math.max(0, x0 + dx), Math.max(0, y0 + dy)];
  [x1, y1] = [Math.min(width, Math.max(x0 + 4, x1 + dx)), Math.min(height, Math.max(y0 + 4, y1 + dy))];
  showRubber([x0, y0, x1, y1]);
}

// ---------------------------------------------------------------- files of the gallery

const PER_PAGE = 8;

async function showSources() {
  await attempt(async () => {
    const text = encodeURIComponent($("source-text").value);
    const found = await api(`sources?text=${text}&offset=${state.page * PER_PAGE}&limit=${PER_PAGE}`);
    $("sources").replaceChildren(...found.sources.map((one) => make("li", {}, make("button", {
      type: "button", title: one.path, onclick: () => loadFrame({ source: one.id, ...(one.detections ? {} : { seconds: 0 }) }),
    }, make("img", { src: address(`sources/${one.id}/thumbnail.jpg`), loading: "lazy", alt: "" }),
    make("span", { text: one.name })))));
    const pages = Math.max(1, Math.ceil(found.total / PER_PAGE));
    $("source-page").textContent = found.total ? `${state.page + 1} of ${pages}` : "no such file";
    $("fewer").disabled = state.page === 0;
    $("more").disabled = state.page + 1 >= pages;
  }, $("sources"));
}

// ---------------------------------------------------------------- search

function readFilters() {
  const boxes = [...$("cameras").querySelectorAll("input")];
  const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
  return {
    cameras: chosen.length === boxes.length || !chosen.length ? null : chosen,
    since: parseTime($("since").value, "From"),
    until: parseTime($("until").value, "To"),
    min_score: Number($("min-score").value) || null,
    same: $("per").value === "tracklet" ? listSaid("same") : [],
    others: $("per").value === "tracklet" ? listSaid("other") : [],
    limit: Number($("limit").value),
    per: $("per").value,
  };
}

const listSaid = (word) => [...state.said].filter(([key, said]) => said === word && Number.isInteger(key)).map(([key]) => key);

async function search() {
  state.search?.abort();
  if (!state.views.length) return showWelcome();
  const control = state.search = new AbortController();
  $("answer").textContent = "Searching …";
  await attempt(async () => {
    try {
      const request = { of: state.views.map((view) => view.subject), ...readFilters() };
      state.answer = await api("search", { method: "POST", json: request, signal: control.signal });
    } catch (error) {
      if (error.name === "AbortError") return;
      return void showFault(error.message);
    }
    state.open = null;
    state.marked.clear();
    showAnswer();
    if (innerWidth <= 860) $("results").scrollIntoView({ behavior: "smooth" });
  }, $("groups"));
}

/** Offer the latest sightings to start from. */
async function showLatest() {
  const latest = await api(`tracklets?limit=24&offset=${Math.max(0, state.gallery.tracklets - 24)}`);
  if (state.answer || state.views.length || !latest.tracklets.length) return;
  $("groups").append(make("section", { className: "group" }, make("h3", { text: "Or start from one of the latest sightings" }),
    make("div", { className: "tiles" }, ...latest.tracklets.reverse().map((one) => {
      const name = `${one.camera ?? one.name}, ${formatSpan(one.first, one.last)}`;
      const picture = make("img", { src: address(`tracklets/${one.tracklet}/crop.jpg`), loading: "lazy", alt: name, onerror: () => tile.remove() });
      const view = () => make("img", { src: picture.src, alt: name });
      const tile = make("article", { className: "tile" },
        make("button", { type: "button", className: "play", "aria-label": `Search ${name}`, onclick: () => addView({ tracklet: one.tracklet }, name, view()) }, picture),
        make("div", { className: "facts" }, make("b", { text: one.camera ?? one.name }), formatSpan(one.first, one.last)));
      return tile;
    }))));
}

function showWelcome() {
  const { gallery } = state;
  state.answer = null;
  $("marked").hidden = true;
  $("answer-note").textContent = $("verdicts").textContent = "";
  if (gallery && !gallery.detections) {
    $("answer").textContent = "The gallery is empty";
    $("groups").replaceChildren(make("div", { className: "empty" },
      make("p", { text: "Index footage first, then reload this page:" }),
      make("p", {}, make("code", { text: `clsa-search index --weights WEIGHTS --store ${gallery.name} FOLDER` }))));
  } else {
    $("answer").textContent = "Nobody is searched yet";
    $("groups").replaceChildren(make("div", { className: "empty" }, make("p", { text: "Three steps:" }),
      make("ol", {}, make("li", { text: "Choose, drop or paste an image, or take one of the gallery." }),
        make("li", { text: "Click the person, or draw a box." }),
        make("li", { text: "Mark what is right, and search again with it." }))));
    attempt(showLatest);
  }
  showTimeline();
}

function showFault(message) {
  state.answer = null;
  $("answer").textContent = "The search did not work";
  $("answer-note").textContent = message;
  $("verdicts").textContent = "";
  $("groups").replaceChildren();
  showTimeline();
}

const keyOf = (match) => match.tracklet ?? `detection ${match.detection}`; // ids of both kinds overlap
const subjectOf = (match) => (match.tracklet ? { tracklet: match.tracklet } : { detection: match.detection });

function showAnswer() {
  const { answer } = state;
  state.sorted = [...answer.matches];
  if ($("sort").value === "time") state.sorted.sort((a, b) => (a.first ?? Infinity) - (b.first ?? Infinity));
  const noun = $("per").value === "tracklet" ? "sighting" : "detection";
  $("strangers-label").hidden = !answer.calibrated;
  if (!answer.matches.length) $("answer").textContent = "Nothing to show";
  else if (answer.calibrated) $("answer").textContent = answer.summary;
  else $("answer").textContent = `The ${plural(answer.matches.length, "most alike", "most alike")} of ${plural(answer.searched, noun)}`;
  const notes = [answer.calibrated || !answer.reason ? "" : `Not calibrated: ${answer.reason}; the order says nothing of how sure it is.`,
    answer.uniforms ? "Many people here are dressed alike: be careful." : "",
    answer.damage ? `${answer.damage}.` : "",
    "Re-identification sees clothes and build, not faces."];
  $("answer-note").textContent = notes.filter(Boolean).join(" ");
  const others = listSaid("other"); // they may be ranked beyond the end of the list
  if (others.length) $("answer-note").append(" ", make("button", { type: "button", text: `Take back ${others.length} × “somebody else”`, onclick: () => takeBack(others) }));
  $("verdicts").textContent = answer.calibrated ? describeVerdicts() : "";
  $("groups").replaceChildren(...(answer.matches.length ? makeGroups(answer) : [make("div", { className: "empty" },
    make("p", { text: `No ${noun} is left by the filters.` }),
    make("button", { type: "button", text: "Clear the filters", onclick: clearFilters }))]));
  showMarked();
  showTimeline();
}

/** Return the matches by verdict; those as alike as strangers are folded away. */
function makeGroups(answer) {
  if (!answer.calibrated) return [makeGroup(null, state.sorted)];
  const accepted = Number($("strangers").value || Infinity);
  const isFar = (match) => match.expected_strangers > accepted || match.rejected_like !== null;
  const groups = VERDICTS.map((verdict) => [verdict, state.sorted.filter((one) => one.verdict === verdict.key && !isFar(one))]);
  const far = state.sorted.filter(isFar);
  const shown = groups.filter(([, matches]) => matches.length).map(([verdict, matches]) => makeGroup(verdict, matches));
  if (answer.nobody) shown.unshift(make("div", { className: "empty" },

    make("p", { text: "Add another view of the person, widen cameras and times, or look at the gaps of the timeline." })));
  if (far.length) shown.push(make("details", { className: "folded" },
    make("summary", { text: answer.nobody ? `Show the ${far.length} nearest all the same` : `${far.length} more, as alike as more strangers than you accept` }),
    makeGroup(null, far)));
  return shown;
}

function makeGroup(verdict, matches) {
  return make("section", { className: `group ${verdict?.css ?? ""}` },
    verdict && make("h3", {}, make("span", { className: "dot" }), `${verdict.title} `,
      make("span", { className: "quiet", text: `${matches.length}${verdict.note ? ` · ${verdict.note}` : ""}` })),
    make("div", { className: "tiles" }, ...matches.map(makeTile)));
}

function describeLength(match) {
  const seconds = match.last - match.first;
  return `seen ${seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`}, ${plural(match.detections, "frame")}`;
}

function describeLikeness(match) {
  if (match.rejected_like) return "looks like one that is somebody else";
  if (match.expected_strangers === null) return `${match.similarity.toFixed(3)} alike`;
  const count = match.expected_strangers;
  const text = count >= 10 ? Math.round(count).toLocaleString("en") : Number(count.toPrecision(2)).toString();
  const { same_verdicts: same, other_verdicts: other } = state.answer;
  const chance = match.probability === null ? "" : `, ${formatChance(match.probability)} by your ${plural(same + other, "verdict")}`;
  return `${match.is_bound ? "<" : ""}${text} ${text === "1" ? "stranger" : "strangers"} this alike${chance}`;
}

/** Return a probability that is never 0 or 100 %. */
function formatChance(probability) {
  const percent = Math.round(100 * probability);
  if (percent < 1) return "<1 %";
  return percent > 99 ? ">99 %" : `${percent} %`;
}

/** Say how many verdicts there are, and how many are missing for a probability. */
function describeVerdicts() {
  const { same, other, missing_same, missing_other } = state.gallery.verdicts;
  if (!same && !other) return "";
  const missing = [missing_same && `${missing_same} same`, missing_other && `${missing_other} other`].filter(Boolean);
  return `Your verdicts: ${same} same, ${other} other${missing.length ? `; ${missing.join(" and ")} more give a probability` : ""}.`;
}

function makeTile(match) {
  const name = `${match.camera ?? match.name}, ${formatSpan(match.first, match.last)}`;
  const picture = make("img", {
    src: address(`detections/${match.detection}/crop.jpg`), loading: "lazy", alt: `Rank ${match.rank}: ${name}`,
    onerror: () => picture.replaceWith(make("span", { className: "missing", text: "The file is gone or has changed." })),
  });
  const tile = make("article", { className: "tile", "aria-label": name },
    make("button", { type: "button", className: "play", "aria-label": `Play match ${match.rank}, ${name}`, onclick: () => openPlayer(match, tile) }, picture),
    make("div", { className: "facts" }, make("b", { text: match.camera ?? match.name }),
      make("span", { text: formatSpan(match.first, match.last) }), make("br"),
      match.detections > 1 && make("span", { text: describeLength(match) }), match.detections > 1 && make("br"),
      make("span", { className: "quiet", text: describeLikeness(match) }),
      match.other_day && make("span", { className: "warn", text: "another day: clothes may differ" })),
    makeJudge(match));
  tile.dataset.key = keyOf(match);
  showSaid(tile, match);
  return tile;
}

function makeJudge(match) {
  const say = (said) => () => {
    const key = keyOf(match);
    if (state.said.get(key) === said) state.said.delete(key); else state.said.set(key, said);
    showSaid(document.querySelector(`.tile[data-key="${key}"]`), match);
    storeSaid([match]);
    if (said === "other" && match.tracklet) search(); // near copies of somebody else go at once
  };
  const mark = make("input", {
    type: "checkbox", checked: state.marked.has(keyOf(match)), "aria-label": `Mark match ${match.rank}`,
    onchange: () => { state.marked[mark.checked ? "add" : "delete"](keyOf(match)); showMarked(); },
  });
  return make("div", { className: "judge" },
    make("button", { type: "button", className: "yes", text: "✓ same", title: "The same person (S)", onclick: say("same") }),
    make("button", { type: "button", className: "no", text: "✗ other", title: "Somebody else (X)", onclick: say("other") }),
    make("label", { title: "Mark (M)" }, mark));
}

/** Store what is said of matches now, one request after the other. */
function storeSaid(matches) {
  const { key, said } = state.person;
  const verdicts = matches.filter((match) => match.tracklet).map((match) => ({
    tracklet: match.tracklet, said: said.get(keyOf(match)) ?? null, z: match.z,
  }));
  if (!verdicts.length) return;
  state.saying = state.saying.then(() => attempt(async () => {
    state.gallery.verdicts = await api("verdicts", { method: "POST", json: { query: key, verdicts } });
    $("verdicts").textContent = describeVerdicts();
  }));
}

function showSaid(tile, match) {
  const said = state.said.get(keyOf(match));
  tile.classList.toggle("same", said === "same");
  tile.classList.toggle("other", said === "other");
  tile.querySelector(".yes").setAttribute("aria-pressed", String(said === "same"));
  tile.querySelector(".no").setAttribute("aria-pressed", String(said === "other"));
  showMarked();
}

const markedMatches = () => state.sorted.filter((match) => state.marked.has(keyOf(match)) || state.said.get(keyOf(match)) === "same");

function showMarked() {
  const marked = markedMatches();
  const hasSightings = idsOf(marked).length > 0; // detections are neither exported nor deleted alone
  const children = [make("strong", { text: `${plural(marked.length, hasSightings ? "sighting" : "detection")} marked` }),
    make("button", { type: "button", className: "primary", text: "Search with these", onclick: () => searchMarked(marked) }),
    hasSightings && make("label", { className: "inline" }, "Export ", makeExportSelect(marked)),
    make("button", { type: "button", text: "Watch …", onclick: () => watchMarked(marked) }),
    hasSightings && make("button", { type: "button", className: "danger", text: "Delete …", onclick: () => deleteMarked(marked) }),
    make("button", { type: "button", text: "Unmark", onclick: () => unmark(marked) })];
  $("marked").hidden = !marked.length;
  $("marked").replaceChildren(...children.filter(Boolean));
}

function unmark(marked) {
  const taken = marked.filter((one) => state.said.delete(keyOf(one)));
  state.marked.clear();
  storeSaid(taken);
  showAnswer();
}

function takeBack(others) {
  others.forEach((one) => state.said.delete(one));
  storeSaid(others.map((tracklet) => ({ tracklet, z: null })));
  search();
}

function searchMarked(marked) {
  const known = new Set(state.views.map((view) => JSON.stringify(view.subject)));
  for (const match of marked) {
    if (known.has(JSON.stringify(subjectOf(match)))) continue;
    const title = `${match.camera ?? match.name} ${formatTime(match.time)}`;
    const picture = make("img", { src: address(`detections/${match.detection}/crop.jpg`), alt: title });
    state.views.push({ subject: subjectOf(match), title, picture });
  }
  showViews();
  search();
}

const idsOf = (matches) => matches.map((one) => one.tracklet).filter(Boolean);

function makeExportSelect(marked) {
  const kinds = { "": "choose …", csv: "table (CSV)", crops: "crops", clips: "clips", case: "evidence case" };
  const select = make("select", {
    "aria-label": "Export the marked", onchange: () => { if (select.value) exportMarked(marked, select.value); select.value = ""; },
  }, ...Object.entries(kinds).map(([value, text]) => make("option", { value, text })));
  return select;
}

async function exportMarked(marked, kind) {
  await attempt(async () => {
    const said = Object.fromEntries([...state.said].filter(([key]) => idsOf(marked).includes(key)));
    const search = { of: state.views.map((view) => view.subject), ...readFilters(), limit: 500 };
    const blob = await api("exports", { method: "POST", json: { tracklets: idsOf(marked), kind, search, said } });
    const link = make("a", { href: URL.createObjectURL(blob), download: kind === "csv" ? "sightings.csv" : `${kind}.zip` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }, $("marked"));
}

/** Ask in a dialog; resolve with its form's values, or null. */
function ask(title, fields, action, isDangerous = false) {
  return new Promise((resolve) => {
    const dialog = make("dialog", { "aria-label": title });
    const form = make("form", { method: "dialog" }, make("h2", { text: title }), ...fields,
      make("div", { className: "actions" },
        make("button", { value: "yes", className: isDangerous ? "danger" : "primary", text: action }),
        make("button", { type: "button", text: "Cancel", onclick: () => dialog.close() })));
    dialog.append(form);
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes" ? Object.fromEntries(new FormData(form)) : null);
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

async function deleteMarked(marked) {
  await attempt(async () => {
    const request = { tracklets: idsOf(marked) };
    const plan = await api("deletions", { method: "POST", json: request });
    const answer = await ask("Delete the marked sightings?", [
      make("p", { text: plan.message }),
      plan.needs_force && make("p", { text: "This is more than half of the gallery." }),
      make("label", { className: "inline" }, make("input", { type: "checkbox", name: "erase" }), " Erase: indexing the files again stores nobody there"),
    ].filter(Boolean), "Delete", true);
    if (!answer) return;
    const done = await api("deletions", { method: "POST", json: { ...request, dry_run: false, confirm: plan.detections, force: plan.needs_force, erase: Boolean(answer.erase) } });
    notify(done.message, false);
    state.views = state.views.filter((view) => !request.tracklets.includes(view.subject.tracklet));
    for (const { said } of state.persons.values()) request.tracklets.forEach((one) => said.delete(one));
    showViews();
    await describeGallery();
    await search();
  });
}

async function watchMarked(marked) {
  await attempt(async () => {
    const people = await api("people");
    const answer = await ask("Watch for this person", [
      make("label", {}, "Name ", make("input", { name: "name", required: true, maxLength: 200 })),
      make("label", {}, "Note ", make("input", { name: "note", maxLength: 2000 })),
      make("label", {}, "Until ", make("input", { name: "until", type: "date" })),
      people.length ? make("p", { className: "quiet", text: `On the list: ${people.map((one) => one.name).join(", ")}. The same name adds views.` }) : make("p", { className: "quiet", text: "Each run of clsa-search index compares new sightings with the list." }),
    ], "Watch");
    if (!answer) return;
    const until = answer.until ? parseTime(answer.until, "Until") : null;
    const person = await api("people", { method: "POST", json: { name: answer.name, note: answer.note, until, of: marked.slice(0, 20).map(subjectOf) } });
    for (const match of marked) if (match.tracklet && state.said.get(keyOf(match)) === "same")
      await api(`people/${person.id}/sightings/${match.tracklet}`, { method: "PUT", json: { said: "same" } });
    notify(`${person.name} is watched, with ${plural(person.examples, "view")}.`, false);
    showPeople();
  });
}

async function showPeople() {
  const people = await api("people");
  $("people").replaceChildren(...people.map((person) => make("li", {},
    make("span", { text: `${person.name}: ${plural(person.examples, "view")}, ${plural(person.sightings.length, "sighting")}${person.until ? `, until ${formatTime(person.until).slice(0, 10)}` : ""}` }),
    make("button", { type: "button", text: "Search", onclick: () => searchPerson(person) }),
    make("button", { type: "button", text: "Forget", onclick: () => attempt(async () => {
      if (!(await ask(`Forget ${person.name}?`, [make("p", { text: "Name, views and verdicts are deleted; the sightings stay." })], "Forget", true))) return;
      await api(`people/${person.id}`, { method: "DELETE" });
      showPeople();
    }) }))));
  if (!people.length) $("people").append(make("li", { className: "quiet", text: "Nobody is watched. Mark sightings of a person, then choose Watch." }));
}

function searchPerson(person) {
  const [tracklet] = person.sightings;
  const picture = tracklet ? make("img", { src: address(`tracklets/${tracklet}/crop.jpg`), alt: person.name }) : make("span", { text: person.name });
  addView({ person: person.id }, person.name, picture);
}

// ---------------------------------------------------------------- jobs: long work of the server

const JOBS = { index: "Look for new footage", calibrate: "Calibrate", link: "Link new files" };

async function showJobs() {
  $("start-jobs").replaceChildren(...Object.entries(JOBS).map(([kind, text]) => make("button", {
    type: "button", text, "data-kind": kind, onclick: () => attempt(async () => followJob(await api("jobs", { method: "POST", json: { kind } }))),
  })));
  const [latest] = await api("jobs");
  if (latest) followJob(latest);
}

function followJob({ id }) {
  const events = new EventSource(address(`jobs/${id}/events`));
  events.onerror = () => events.close();
  events.onmessage = (event) => {
    const job = JSON.parse(event.data);
    const isOver = !["waiting", "running"].includes(job.state);
    $("job").replaceChildren(make("div", {}, make("p", {}, make("b", { text: JOBS[job.kind] }), ` ${job.state}`),
      !isOver && make("progress", { "aria-label": JOBS[job.kind], ...(job.of ? { max: job.of, value: job.done } : {}) }),
      !isOver && make("button", { type: "button", text: "End it", onclick: () => attempt(() => api(`jobs/${id}`, { method: "DELETE" })) }),
      make("p", { className: "quiet", text: job.message }), job.problems.length > 0 && make("ul", {}, ...job.problems.map((text) => make("li", { text })))));
    for (const button of $("upkeep").querySelectorAll("[data-kind]")) button.disabled = !isOver;
    if (isOver) { events.close(); attempt(async () => { await describeGallery(); await loadTimeline(); await showPeople(); }); }
  };
}

function clearFilters() {
  $("filters").reset();
  search();
}

// ---------------------------------------------------------------- player

async function openPlayer(match, tile) {
  const isOpen = tile.classList.contains("open");
  document.querySelectorAll(".tile.open").forEach((one) => one.classList.remove("open"));
  document.querySelector(".player")?.remove();
  state.open = null;
  if (isOpen) return;
  tile.classList.add("open");
  state.open = match;
  const screen = make("div", { className: "screen" }, make("p", { className: "quiet", text: "Loading …" }));
  const facts = make("div", {});
  const player = make("section", { className: "player", "aria-label": `Match ${match.rank}` }, screen, facts);
  let last = tile; // the player opens below the row of the tile
  while (last.nextElementSibling && last.nextElementSibling.offsetTop === tile.offsetTop) last = last.nextElementSibling;
  last.after(player);
  await attempt(async () => {
    const track = await api(match.tracklet ? `tracklets/${match.tracklet}` : `detections/${match.detection}`);
    showFacts(facts, match, track, screen, tile);
    if (track.fault) screen.replaceChildren(make("p", { className: "empty", text: `Cannot be shown: ${track.fault}` }));
    else if (track.kind === "image") showStill(screen, match, track);
    else if (isPlayable(track.media_type)) showVideo(screen, match, track);
    else showClip(screen, match);
    player.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }, screen);
}

/** Whether the browser may play a file; of Matroska browsers do not tell. */
const isPlayable = (type) => type.includes("matroska") || document.createElement("video").canPlayType(type) !== "";

/** Return the width of a picture that fills its place: small ones are enlarged. */
const fitWidth = (ratio) => `min(100%, calc(62vh * ${ratio}))`;

function showStill(screen, match, track) {
  const overlay = make("div", { className: "overlay" });
  const image = make("img", { src: address(`detections/${match.detection}/frame.jpg`), alt: `Whole image of match ${match.rank}` });
  place(overlay, track.boxes[0].box, track);
  const frame = make("div", { className: "frame whole" }, image, overlay);
  frame.style.width = fitWidth(track.width / track.height);
  frame.style.aspectRatio = `${track.width} / ${track.height}`; // before the image is there
  screen.replaceChildren(frame);
}

function showVideo(screen, match, track) {
  const boxes = track.boxes;
  const start = Math.max(0, boxes[0].seconds - 2);
  const overlay = make("div", { className: "overlay", hidden: true });
  const video = make("video", {
    src: address(`sources/${track.source}/media`), controls: true, muted: true, playsInline: true, preload: "auto",
    "aria-label": `Video of match ${match.rank}`,
    onloadedmetadata: () => { frame.style.width = fitWidth(video.videoWidth / video.videoHeight); video.currentTime = start; video.play().catch(() => {}); },
    onerror: () => showClip(screen, match),
  });
  let stopAt = boxes[boxes.length - 1].seconds + 2; // once: afterwards the video plays on
  const follow = () => {
    if (!video.isConnected) return;
    if (video.currentTime >= stopAt) { video.pause(); stopAt = Infinity; }
    const box = boxAt(boxes, video.currentTime);
    overlay.hidden = !box || !video.videoWidth;
    if (!overlay.hidden) place(overlay, box, { width: video.videoWidth, height: video.videoHeight });
    requestAnimationFrame(follow);
  };
  const frame = make("div", { className: "frame whole" }, video, overlay);
  screen.replaceChildren(frame);
  requestAnimationFrame(follow);
}

/** Return the box at a moment, between the detections around it; null if nobody is seen then. */
function boxAt(boxes, seconds) {
  if (seconds < boxes[0].seconds - 0.5 || seconds > boxes[boxes.length - 1].seconds + 0.5) return null;
  const after = boxes.findIndex((one) => one.seconds >= seconds);
  if (after === 0) return boxes[0].box;
  if (after < 0) return boxes[boxes.length - 1].box;
  const [a, b] = [boxes[after - 1], boxes[after]];
  const share = (seconds - a.seconds) / (b.seconds - a.seconds || 1);
  return a.box.map((value, i) => value + share * (b.box[i] - value));
}

/** Show an animated image in place of a video that this browser does not play. */
function showClip(screen, match) {
  screen.closest(".player").classList.add("still");
  const image = make("img", {
    className: "clip", src: address(match.tracklet ? `tracklets/${match.tracklet}/clip.webp` : `detections/${match.detection}/clip.webp`), alt: `Seconds around match ${match.rank}`,
    onerror: () => screen.replaceChildren(make("p", { className: "empty", text: "The footage cannot be shown." })),
    onload: () => waiting.remove(),
  });
  const waiting = make("p", { className: "waiting", text: "Making a clip: this browser does not play the file …" });
  screen.replaceChildren(make("div", { className: "frame" }, image), waiting);
}

function showFacts(facts, match, track, screen, tile) {
  const rows = {
    Camera: match.camera, Seen: formatSpan(match.first, match.last), File: match.name,
    "In the file": track.kind === "video" ? formatTime(track.boxes[0].seconds) : null,
    Likeness: describeLikeness(match), "Detection score": match.score.toFixed(2),
    Box: { hand: "drawn by hand", file: "of another detector" }[match.origin],
  };
  const list = make("dl", {});
  for (const [name, value] of Object.entries(rows)) if (value) list.append(make("dt", { text: name }), make("dd", { text: value }));
  const video = () => screen.querySelector("video");
  const moments = track.boxes.map((one) => one.seconds);
  const jump = (step) => () => {
    const now = video().currentTime;
    const next = step > 0 ? moments.find((one) => one > now + 0.05) : moments.findLast((one) => one < now - 0.05);
    video().pause();
    video().currentTime = next ?? moments[step > 0 ? moments.length - 1 : 0];
  };
  const isVideo = track.kind === "video" && !track.fault;
  facts.append(list, make("div", { className: "actions" },
    make("button", { type: "button", className: "primary", text: "Search this person", onclick: () => { state.views = []; turnTo(subjectOf(match)); searchMarked([match]); } }),
    isVideo && make("button", { type: "button", className: "half", text: "‹ Seen", "aria-label": "Previous moment", onclick: jump(-1) }),
    isVideo && make("button", { type: "button", className: "half", text: "Seen ›", "aria-label": "Next moment", onclick: jump(1) }),
    !track.fault && make("button", {
      type: "button", text: "Somebody else in this frame", onclick: () => {
        const seconds = video()?.currentTime ?? track.boxes[0].seconds;
        loadFrame({ source: track.source, ...(track.kind === "video" ? { seconds } : {}) });
        $("whom").scrollIntoView({ block: "start", behavior: "smooth" });
      },
    }),
    !track.fault && make("a", { className: "button", href: address(`sources/${track.source}/media`), download: match.name, text: "Download the file" }),
    make("a", { className: "button", href: `?${new URLSearchParams(subjectOf(match))}`, target: "_blank", text: "Link to this person" }),
    make("button", { type: "button", text: "Close", onclick: () => { openPlayer(match, tile); tile.querySelector(".play").focus(); } })));
}

// ---------------------------------------------------------------- timeline: a lane for each camera

const LANE = 26, LEFT = 110, TOP = 4;

function showTimeline() {
  const spans = state.lanes.flatMap((lane) => lane.spans.map(([first, last]) => ({ first, last, camera: lane.camera })));
  const timed = [...(state.answer?.matches.filter((one) => one.first !== null) ?? []), ...spans];
  const hasDates = timed.some((one) => one.first >= CALENDAR_FROM); // times within videos have no place among dates
  const all = timed.filter((one) => (one.first >= CALENDAR_FROM) === hasDates);
  const [matches, covered] = [all.filter((one) => "rank" in one), all.filter((one) => !("rank" in one))];
  const undated = state.lanes.reduce((total, lane) => total + lane.undated, 0);
  $("timeline").hidden = !all.length;
  if (!all.length) return;
  const low = all.reduce((least, one) => Math.min(least, one.first), Infinity);
  const high = all.reduce((most, one) => Math.max(most, one.last), low + 1);
  const names = [...new Set(all.map((one) => one.camera ?? ""))].sort();
  const width = Math.max(320, $("timeline").clientWidth - 20), height = TOP + LANE * names.length + 22;
  const left = Math.min(LEFT, width / 4, 14 + 7.5 * Math.max(...names.map((name) => (name || "no camera").length)));
  const x = (seconds) => left + (width - left - 8) * (seconds - low) / (high - low);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `Timeline from ${formatTime(low)} to ${formatTime(high)}, ${plural(names.length, "camera")}` });
  chart.append(svg("defs", {}, svg("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("line", { class: "hatch", x1: 0, y1: 0, x2: 0, y2: 6 }))));
  for (const seconds of chooseTicks(low, high, Math.max(2, Math.floor((width - left) / 80)))) {
    chart.append(svg("line", { class: "tick", x1: x(seconds), x2: x(seconds), y1: TOP, y2: height - 20 }),
      svg("text", { x: x(seconds), y: height - 6, "text-anchor": "middle" }, formatTick(seconds, high - low)));
  }
  names.forEach((name, row) => {
    const y = TOP + row * LANE;
    const label = name || "no camera";
    chart.append(svg("text", { x: 0, y: y + 16 }, label.length > left / 7.5 ? `${label.slice(0, left / 7.5 - 1)}…` : label),
      svg("rect", { class: spans.length ? "" : "lane", fill: spans.length ? "url(#hatch)" : null, x: left, y: y + 3, width: width - left - 8, height: LANE - 8 }));
    for (const [start, end] of joinBars(covered.filter((one) => (one.camera ?? "") === name).map((one) => [x(one.first), x(one.last)])))
      chart.append(svg("rect", { class: "covered", x: start, y: y + 3, width: Math.max(1.5, end - start), height: LANE - 8 }));
  });
  for (const match of [...matches].reverse()) {
    const y = TOP + names.indexOf(match.camera ?? "") * LANE;
    const css = VERDICTS.find((one) => one.key === match.verdict)?.css ?? "plain";
    chart.append(svg("rect", { class: `mark ${css}`, x: x(match.first) - 2, y, width: Math.max(4, x(match.last) - x(match.first) + 4), height: LANE - 2, rx: 2, onclick: () => jumpTo(match) },
      svg("title", {}, `match ${match.rank}, ${formatSpan(match.first, match.last)}`)));
  }
  makeSelectable(chart, left, width - 8, (position) => low + (high - low) * (position - left) / (width - left - 8), height);
  $("timeline").replaceChildren(chart, make("div", { className: "legend" },
    make("span", { text: "Drag to choose a time; click a bar to see it." }),
    spans.length ? make("span", { text: "Hatched: no footage, so nobody can be seen there." }) : null,
    hasDates ? make("span", { text: zone() ? `Times of ${zone()}.` : "Times of this browser's zone." }) : null,
    all.length < timed.length ? make("span", { text: "Footage without dates is not shown here; clsa-search retime gives dates." }) : null,
    undated ? make("span", { text: `${plural(undated, "file")} without a known time or length.` }) : null));
}

/** Join bars that no eye could tell apart: thousands of photographs are a few bars. */
function joinBars(bars) {
  const joined = [];
  for (const [start, end] of bars.sort((a, b) => a[0] - b[0])) {
    const last = joined.at(-1);
    if (last && start - last[1] < 1) last[1] = Math.max(last[1], end);
    else joined.push([start, end]);
  }
  return joined;
}

function chooseTicks(low, high, count) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];
  const step = steps.find((one) => (high - low) / one <= count) ?? 31536000;
  const shift = high >= CALENDAR_FROM ? zoneOffset(low) : 0;
  const ticks = [];
  for (let one = Math.ceil((low + shift) / step) * step - shift; one <= high; one += step) ticks.push(one);
  return ticks;
}

function formatTick(seconds, span) {
  const text = formatTime(seconds);
  if (seconds < CALENDAR_FROM) return text;
  if (span > 3 * 86400) return text.slice(5, 10);
  return span > 86400 ? text.slice(5, 16) : text.slice(11, span > 600 ? 16 : 19);
}

function makeSelectable(chart, left, right, toSeconds, height) {
  const picked = svg("rect", { class: "picked", y: 0, height: height - 20, width: 0 });
  chart.append(picked);
  let start = null;
  const at = (event) => {
    const bounds = chart.getBoundingClientRect();
    return Math.min(right, Math.max(left, (event.clientX - bounds.left) * chart.viewBox.baseVal.width / bounds.width));
  };
  chart.addEventListener("pointerdown", (event) => { start = at(event); });
  chart.addEventListener("pointermove", (event) => {
    if (start === null || event.buttons === 0) return;
    if (Math.abs(at(event) - start) < 6) return;
    picked.setAttribute("x", Math.min(start, at(event)));
    picked.setAttribute("width", Math.abs(at(event) - start));
  });
  chart.addEventListener("pointerup", (event) => {
    const end = at(event);
    if (start !== null && Math.abs(end - start) >= 6) {
      const [since, until] = [Math.min(start, end), Math.max(start, end)].map(toSeconds);
      $("since").value = formatTime(Math.floor(since));
      $("until").value = formatTime(Math.ceil(until));
      search();
    }
    start = null;
  });
}

function jumpTo(match) {
  const tile = document.querySelector(`.tile[data-key="${keyOf(match)}"]`);
  tile?.closest("details")?.setAttribute("open", "");
  tile?.scrollIntoView({ block: "center", behavior: "smooth" });
  if (tile && !tile.classList.contains("open")) openPlayer(match, tile);
}

// ---------------------------------------------------------------- keyboard, start

function moveByKey(event) {
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "b" && state.query) { setDrawing(!drawing.isOn); $("stage").focus(); return; }
  if (event.target.closest("#stage")) return;
  const tiles = [...document.querySelectorAll(".tile")].filter((one) => one.offsetParent);
  const tile = event.target.closest(".tile");
  if (event.key === "Escape" && state.open) return void document.querySelector(".tile.open")?.querySelector(".play").click();
  if (!tile) return;
  const keys = { s: ".yes", x: ".no", m: "input" };
  if (keys[event.key]) return void tile.querySelector(keys[event.key]).click();
  const row = tiles.filter((one) => one.offsetTop === tile.offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[event.key];
  if (!step) return;
  event.preventDefault();
  tiles[tiles.indexOf(tile) + step]?.querySelector(".play").focus();
}

function askForToken() {
  $("sign-in").hidden = false;
  $("desk").hidden = true;
  $("token").focus();
}

async function signIn(token) {
  const answer = await fetch("session", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token }),
  });
  if (!answer.ok) throw new Error("The token is wrong: expected the one in the file of --token-file.");
}

function connect() {
  $("file").addEventListener("change", () => { loadImage($("file").files[0]); $("file").value = ""; });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", name === "dragover");
      if (name === "drop") loadImage(event.dataTransfer.files[0]);
    });
  }
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file) loadImage(file);
  });
  $("browse").addEventListener("toggle", () => { if ($("browse").open) showSources(); });
  $("source-text").addEventListener("input", () => { state.page = 0; clearTimeout(state.typing); state.typing = setTimeout(showSources, 250); });
  $("fewer").addEventListener("click", () => { state.page -= 1; showSources(); });
  $("more").addEventListener("click", () => { state.page += 1; showSources(); });
  $("draw").addEventListener("click", () => { setDrawing(!drawing.isOn); if (drawing.isOn) { setHint("Drag over the person. Or: arrow keys move, Shift and arrows resize, Enter searches."); $("stage").focus(); } });
  $("keep-box").addEventListener("click", keepBox);
  $("next-frame").addEventListener("click", () => loadFrame({ source: state.query.source, after: state.query.time }));
  $("stage").addEventListener("pointerdown", startDrag);
  $("stage").addEventListener("pointermove", drag);
  $("stage").addEventListener("pointerup", endDrag);
  $("stage").addEventListener("keydown", drawByKey);
  $("stage").addEventListener("dragstart", (event) => event.preventDefault());
  $("add-view").addEventListener("click", () => setAdding(!state.adding));
  $("upkeep").addEventListener("toggle", () => { if ($("upkeep").open) attempt(showJobs); });
  $("watched").addEventListener("toggle", () => { if ($("watched").open) attempt(showPeople); });
  $("filters").addEventListener("change", (event) => { if (["sort", "strangers"].includes(event.target.id)) { if (state.answer) showAnswer(); } else search(); });
  $("filters").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  $("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => { await signIn($("token").value.trim()); $("token").value = ""; await start(); });
  });
  document.addEventListener("keydown", moveByKey);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; showTimeline(); } });
}

async function describeGallery() {
  const gallery = state.gallery = await api("gallery");
  document.title = `Find a person · ${gallery.name}`;
  $("about").textContent = `${plural(gallery.tracklets, "sighting")} in ${plural(gallery.sources, "file")} · ${gallery.name}`;
  $("problems").replaceChildren(...gallery.problems.map((text) => make("li", { text })));
  return gallery;
}

async function start() {
  const gallery = await describeGallery();
  $("sign-in").hidden = true;
  $("desk").hidden = false;
  $("cameras").append(...gallery.cameras.map((camera) => make("label", {}, make("input", { type: "checkbox", value: camera, checked: true }), camera)));
  $("cameras").hidden = !gallery.cameras.length;
  $("per").replaceChildren(make("option", { value: "tracklet", text: "sightings" }), make("option", { value: "image", text: "the best of each image" }), make("option", { value: "match", text: "all detections" }));
  showWelcome();
  await Promise.all([openLink(), loadTimeline()]);
}

/** Load the coverage of the footage; the server may still be reading the headers of videos. */
async function loadTimeline() {
  const timeline = await api("timeline");
  state.lanes = timeline.lanes;
  for (const id of ["since", "until"]) $(id).placeholder = exampleTime();
  showTimeline();
  if (!timeline.complete) setTimeout(() => attempt(loadTimeline), 1500);
}

connect();
const token = location.hash.match(/^#token=(.+)$/)?.[1];
if (token) history.replaceState(null, "", location.pathname + location.search);
attempt(async () => { if (token) await signIn(decodeURIComponent(token)); await start(); });
