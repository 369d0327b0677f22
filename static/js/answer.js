// An answer's Markdown, made harmless: `showAnswer(raw, shown)` puts what `raw` holds as text into `shown` as HTML.
(() => {
  "use strict";
  const FORBIDDEN = ["style", "form", "input", "button", "textarea", "select", "img", "svg", "math", "video", "audio", "picture", "source", "iframe", "dialog"];
  const SAFE = { USE_PROFILES: { html: true }, FORBID_TAGS: FORBIDDEN, FORBID_ATTR: ["style", "class", "id", "name", "background", "popover"], ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false };
  DOMPurify.addHook("afterSanitizeAttributes", (node) => {
    if (node.tagName === "A") { node.setAttribute("target", "_blank"); node.setAttribute("rel", "noopener noreferrer"); if (node.href) node.title = node.href; }
  });
  // Raw HTML in an answer is shown as it was written, but for bare marks: what is never parsed as HTML asks for nothing,
  // and leaves no complaint of the page's policy in the console.
  const BARE = /^<\/?(b|i|em|strong|u|s|sub|sup|kbd|code|mark|br|hr|p|ul|ol|li|details|summary|blockquote|table|thead|tbody|tr|td|th)\s*\/?>$/i;
  const CHARACTERS = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  const escaped = (text) => text.replace(/[&<>"']/g, (character) => CHARACTERS[character]);
  const bareOnly = (text) => text.split(/(<[^<>]*>)/).map((part) => (BARE.test(part) ? part : escaped(part))).join("");
  marked.use({ renderer: { html: (token) => bareOnly(token.text) } });
  window.showAnswer = (raw, shown) => {
    shown.innerHTML = DOMPurify.sanitize(marked.parse(raw.textContent, { gfm: true, breaks: true }), SAFE);
    shown.hidden = false;
  };
})();
