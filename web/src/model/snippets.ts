/** The request behind an answer, to take along: curl, or Python with OpenAI's client. */

export interface Call {
  base: string; // .../v1
  model: string;
  chat: boolean;
  prompt: string;
  preference: unknown;
  options: { max_tokens: number; temperature: number; seed: number };
  keyed: boolean;
}

export function curl(call: Call): string {
  const body = { ...asked(call), ...call.options, preference: call.preference };
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const key = call.keyed ? " \\\n  -H \"Authorization: Bearer $MOALIGN_API_KEY\"" : "";
  const path = call.chat ? "chat/completions" : "completions";
  return `curl ${call.base}/${path} \\\n  -H 'Content-Type: application/json'${key} \\\n  -d '${json}'\n`;
}

export function python(call: Call): string {
  const method = call.chat ? "chat.completions" : "completions";
  const input = call.chat ? `messages=[{"role": "user", "content": ${literal(call.prompt)}}]` : `prompt=${literal(call.prompt)}`;
  const options = Object.entries(call.options).map(([name, value]) => `    ${name}=${value},\n`);
  const key = call.keyed ? 'os.environ["MOALIGN_API_KEY"]' : '"none"';
  const answer = call.chat ? "choices[0].message.content" : "choices[0].text";
  return `${call.keyed ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${literal(call.base)}, api_key=${key})
answer = client.${method}.create(
    model=${literal(call.model)},
    ${input},
${options.join("")}    extra_body={"preference": ${literal(call.preference)}},
)
print(answer.${answer})
`;
}

function asked(call: Call): object {
  return { model: call.model, ...(call.chat ? { messages: [{ role: "user", content: call.prompt }] } : { prompt: call.prompt }) };
}

/** JSON of texts, numbers and objects of them is Python too. */
function literal(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)}: ${literal(inner)}`).join(", ")}}`;
}
