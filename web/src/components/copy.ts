/** Put a text on the clipboard; false where the browser refuses, as it does on pages without TLS that are not local. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
