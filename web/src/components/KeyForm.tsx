import { useSignal } from "@preact/signals";
import { apiKey, keyWanted } from "../api/client";
import { connect, model } from "../state/server";

/** Asks for the API key that the server wants. It lives in memory only: a reload forgets it. */
export function KeyForm() {
  const typed = useSignal("");
  const submit = (event: Event) => {
    event.preventDefault();
    apiKey.value = typed.value.trim();
    keyWanted.value = "";
    if (model.value === null) void connect();
  };
  return (
    <form class="card key" id="key-form" onSubmit={submit}>
      <div>
        <h2>This server asks for a key</h2>
        <p class="note" role="alert">{keyWanted.value}</p>
      </div>
      <label class="field">
        <span>API key (kept until you leave this page)</span>
        <input type="password" id="key" autocomplete="off" spellcheck={false} value={typed.value} onInput={(e) => (typed.value = e.currentTarget.value)} />
      </label>
      <button type="submit" class="primary" disabled={!typed.value.trim()}>Use this key</button>
    </form>
  );
}
