/** Answers as they are written: server-sent events over fetch, which takes a body and a key, as EventSource does not. */
import { ApiError, send } from "./client";
import type { Chunk } from "./types";

/** The data of every event, whatever pieces the network cuts the stream into. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      pending += decoder.decode(value, { stream: !done });
      const lines = pending.split(/\r\n|\r|\n/);
      // The last line may go on in the next piece.
      pending = lines.pop() ?? "";
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trimStart();
      if (done) return;
    }
  } finally {
    // A reader that stops early must free the connection: the server then stops writing.
    reader.cancel().catch(() => undefined);
  }
}

export async function* chunks(path: string, body: object, signal: AbortSignal): AsyncGenerator<Chunk> {
  const response = await send(path, { ...body, stream: true, stream_options: { include_usage: true } }, { signal });
  let finished = false;
  for await (const data of events(response.body!)) {
    if (data === "[DONE]") {
      finished = true;
      break;
    }
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) throw new ApiError(200, chunk.error.message);
    yield chunk;
  }
  if (!finished) throw new ApiError(0, "the connection ended before the answer did");
}
