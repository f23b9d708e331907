import type { RefObject } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";

/** The width of an element in pixels, as it changes: plots are drawn in pixels, so that their text stays readable on a phone. */
export function useWidth(ref: RefObject<Element | null>, start = 600): number {
  const [width, setWidth] = useState(start);
  useLayoutEffect(() => {
    const element = ref.current!;
    const measure = () => setWidth(Math.max(200, Math.floor(element.getBoundingClientRect().width)));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [ref]);
  return width;
}
