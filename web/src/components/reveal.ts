/** Bring what was just asked for into sight; nothing moves where it can be seen already. */
export function reveal(id: string): void {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  requestAnimationFrame(() => {
    const element = document.getElementById(id);
    if (!element || element.getBoundingClientRect().top < innerHeight - 120) return;
    element.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  });
}
