/** Requests to the server that this page came from, with the key if one is needed. Nothing is stored: the key goes with the tab. */
import { signal } from "@preact/signals";

export const apiKey = signal("");
/** The server's words when it wants a key; empty where it wants none. */
export const keyWanted = signal("");

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly param: string | null = null,
    readonly code: string | null = null,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

/** Relative to the page, so that a proxy may serve both under a path of its own. */
export const urlOf = (path: string) => new URL(path, document.baseURI).href;

export async function send(path: string, body?: unknown, options: { method?: string; signal?: AbortSignal } = {}): Promise<Response> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (apiKey.value) headers.Authorization = `Bearer ${apiKey.value}`;
  const method = options.method ?? (body === undefined ? "GET" : "POST");
  let response: Response;
  try {
    response = await fetch(urlOf(path), { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: options.signal });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, "the server cannot be reached");
  }
  if (!response.ok) throw await asError(response);
  return response;
}

export async function ask<Reply>(path: string, body?: unknown, method?: string): Promise<Reply> {
  return (await send(path, body, { method })).json() as Promise<Reply>;
}

async function asError(response: Response): Promise<ApiError> {
  let message = `the server answered ${response.status}`;
  let param: string | null = null;
  let code: string | null = null;
  try {
    const { error } = await response.json();
    ({ message, param, code } = { message, ...error });
  } catch {
    // An answer of something between the server and this page: its status is all that can be said.
  }
  if (response.status === 401) keyWanted.value = message;
  const after = Number(response.headers.get("Retry-After"));
  return new ApiError(response.status, message, param, code, Number.isFinite(after) && after > 0 ? after : null);
}

/** The sentence for a reader: the server's own, and when to try again. */
export function sentence(error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error);
  return error.retryAfter === null ? error.message : `${error.message}. Try again in ${error.retryAfter} s.`;
}
