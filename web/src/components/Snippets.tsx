import { useSignal } from "@preact/signals";
import { apiKey, urlOf } from "../api/client";
import { curl, python, type Call } from "../model/snippets";
import { settings } from "../state/answers";
import { chat, model } from "../state/server";
import { copy } from "./copy";

const FORMS = { curl, Python: python };

/** The request of one taste, to take along. */
export function Snippets({ prompt, letter, preference }: { prompt: string; letter: string; preference: unknown }) {
  const form = useSignal<keyof typeof FORMS>("curl");
  const copied = useSignal("");
  const call: Call = {
    base: urlOf("v1"),
    model: model.value?.id ?? "",
    chat: chat.value,
    prompt: prompt.trim() || "Hello",
    preference,
    options: settings.value,
    keyed: apiKey.value !== "",
  };
  const text = FORMS[form.value](call);
  const onCopy = async () => {
    copied.value = (await copy(text)) ? "Copied" : "Select the text and copy it";
    setTimeout(() => (copied.value = ""), 2500);
  };
  return (
    <details class="card snippets">
      <summary>Take {letter.length === 1 ? `the request of ${letter}` : letter} along as code</summary>
      <div class="heading">
        <div class="segments" role="group" aria-label="Language">
          {(Object.keys(FORMS) as (keyof typeof FORMS)[]).map((name) => (
            <button type="button" key={name} id={`as-${name}`} aria-pressed={form.value === name} onClick={() => (form.value = name)}>{name}</button>
          ))}
        </div>
        <button type="button" id="copy" onClick={() => void onCopy()}>{copied.value || "Copy"}</button>
      </div>
      <pre tabindex={0}><code id="snippet">{text}</code></pre>
    </details>
  );
}
