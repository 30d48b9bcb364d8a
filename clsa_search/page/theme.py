"""Theme of the page, light and dark; all fonts and colors come from this machine."""

from gradio import themes

THEME = themes.Default(
    primary_hue="orange",
    neutral_hue="slate",
    radius_size="sm",
    text_size="md",
    # no font from another server
    font=["system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"],
    font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"],
)

CSS = """
.gradio-container { max-width: 1500px !important; margin: 0 auto !important; }
.gradio-container .html-container { padding: 0 !important; }
#headline h1 { font-size: 1.5rem; font-weight: 600; margin: 0; }
#headline p, .quiet { color: var(--body-text-color-subdued); margin: 0; }
.centered { text-align: center; }
.step { font-weight: 600; margin: 0.4rem 0 0; }
#detections img { cursor: pointer; }
#query { align-items: center; }
#matches .grid-container { grid-auto-rows: auto; }
#matches .thumbnail-lg, #sources .thumbnail-lg { aspect-ratio: auto; height: auto; }
#matches .thumbnail-lg img { aspect-ratio: 228 / 324; width: 100%; height: auto; }
#sources .thumbnail-lg img { aspect-ratio: 4 / 3; width: 100%; height: auto; }
#matches .caption-label, #sources .caption-label {
  position: static; display: block; max-width: 100%; width: 100%; padding: 0.25rem 0.4rem;
  border: 0; border-radius: 0; background: none; color: var(--body-text-color);
  font-size: 0.8rem; line-height: 1.3; text-align: left; white-space: pre-line;
  overflow: hidden; text-overflow: ellipsis;
}
#matches .caption-label::first-line { font-weight: 600; }
#matches .grid-wrap, #sources .grid-wrap { max-height: none; min-height: 0; height: auto; }
/* without details, hide the selection that the browser keeps */
body:not(:has(#details)) #matches .selected { border-color: transparent; box-shadow: none; }
#frame img { max-height: 65vh; object-fit: contain; }
#details table { width: 100%; border-collapse: collapse; }
#details :is(table, tr, td) { border: 0 !important; background: none; }
#details td { padding: 0.2rem 0.6rem 0.2rem 0; vertical-align: top; overflow-wrap: anywhere; }
#details td:first-child { color: var(--body-text-color-subdued); white-space: nowrap; }
@media (max-width: 640px) {
  #matches .grid-container { grid-template-columns: repeat(3, 1fr) !important; }
  #sources .grid-container { grid-template-columns: repeat(2, 1fr) !important; }
}
"""
