// The core rows of the table of clients with OpenAI's Node SDK: one JSON line for each, like proofs/clients/rows.
//
//     HONE_URL=http://127.0.0.1:8000 HONE_KEYS='{"key": ...}' node rows.mjs
//
// Needs one succeeded job with the metadata team=support in the project, which the rows of the Python SDK leave.

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const keys = JSON.parse(process.env.HONE_KEYS);
const baseURL = `${process.env.HONE_URL}/v1`;
const client = new OpenAI({ baseURL, apiKey: keys.key });
const jsonl = (count) =>
  Array.from({ length: count }, (_, number) =>
    JSON.stringify({
      messages: [
        { role: "user", content: `Order ${number}?` },
        { role: "assistant", content: `It is number ${number}.` },
      ],
    }),
  ).join("\n") + "\n";
const chat = (options) => ({
  model: "tiny",
  messages: [{ role: "user", content: "Order 3?" }],
  temperature: 0,
  max_tokens: 12,
  ...options,
});

async function refused(call, kind, param) {
  const error = await call().then(
    () => assert.fail("not refused"),
    (caught) => caught,
  );
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  assert.ok(error.requestID?.startsWith("req_"), "no request id");
  assert.deepEqual(Object.keys(error.error).sort(), ["code", "message", "param", "type"]);
  if (param) assert.equal(error.param, param);
  return error;
}

async function all(pages) {
  const found = [];
  for await (const each of pages) found.push(each);
  return found;
}

async function finished() {
  const jobs = await all(client.fineTuning.jobs.list({ metadata: { team: "support" } }));
  return jobs.find((job) => job.status === "succeeded") ?? assert.fail("no finished job to look at");
}

// As the SDK does by itself after 429, but more patiently: on a slow machine a model takes minutes to be loaded.
async function whenLoaded(call) {
  for (let tries = 0; ; tries++) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof OpenAI.RateLimitError) || tries > 60) throw error;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

const rows = {
  "file upload": async () => {
    const content = jsonl(12);
    const made = await client.files.create({ file: await toFile(Buffer.from(content), "t.jsonl"), purpose: "fine-tune" });
    assert.ok(made.id.startsWith("file-"));
    assert.equal(made.bytes, content.length);
    assert.equal((await client.files.waitForProcessing(made.id, { pollInterval: 100 })).status, "processed");
    const wrong = await toFile(Buffer.from("not JSON"), "t.jsonl");
    await refused(() => client.files.create({ file: wrong, purpose: "fine-tune" }), OpenAI.BadRequestError, "file");
  },
  "file list": async () => {
    const ids = (await all(client.files.list({ purpose: "fine-tune", limit: 3, order: "asc" }))).map((file) => file.id);
    assert.ok(ids.length > 3);
    assert.equal(new Set(ids).size, ids.length);
  },
  "content, delete": async () => {
    const content = jsonl(10);
    const made = await client.files.create({ file: await toFile(Buffer.from(content), "t.jsonl"), purpose: "fine-tune" });
    assert.equal(await (await client.files.content(made.id)).text(), content);
    assert.equal((await client.files.delete(made.id)).deleted, true);
    await refused(() => client.files.retrieve(made.id), OpenAI.NotFoundError, "id");
  },
  "create SFT": async () => {
    const file = await client.files.create({ file: await toFile(Buffer.from(jsonl(12)), "t.jsonl"), purpose: "fine-tune" });
    const job = await client.fineTuning.jobs.create({
      model: "tiny",
      training_file: file.id,
      method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 50, batch_size: 1 } } },
      metadata: { from: "node" },
    });
    assert.equal(job.status, "validating_files");
    assert.equal(job.hyperparameters.n_epochs, 50);
    assert.deepEqual(job.error, { code: null, message: null, param: null });
    const again = await client.fineTuning.jobs.retrieve(job.id);
    assert.equal(again.seed, job.seed);
    const listed = await all(client.fineTuning.jobs.list({ metadata: { from: "node" } }));
    assert.ok(listed.some((each) => each.id === job.id) && listed.every((each) => each.metadata.from === "node"));
    assert.equal((await client.fineTuning.jobs.cancel(job.id)).status, "cancelled");
    await refused(() => client.fineTuning.jobs.cancel(job.id), OpenAI.BadRequestError);
  },
  limits: async () => {
    const asked = { model: "tiny", training_file: "file-none", suffix: "x".repeat(65) };
    await refused(() => client.fineTuning.jobs.create(asked), OpenAI.BadRequestError, "suffix");
  },
  events: async () => {
    const job = await finished();
    const events = await all(client.fineTuning.jobs.listEvents(job.id, { limit: 4 }));
    assert.equal(events[0].message, "The job has successfully completed");
    assert.equal(events.at(-1).message, `Created fine-tuning job: ${job.id}`);
    assert.equal(events.filter((event) => event.type === "metrics").length, 6);
  },
  checkpoints: async () => {
    const job = await finished();
    const found = await all(client.fineTuning.jobs.checkpoints.list(job.id, { limit: 1 }));
    assert.equal(found[0].fine_tuned_model_checkpoint, job.fine_tuned_model);
    assert.match(found[1].fine_tuned_model_checkpoint, /:ckpt-step-3$/);
    assert.ok(found.every((checkpoint) => checkpoint.metrics.full_valid_loss > 0));
  },
  "result csv": async () => {
    const text = await (await client.files.content((await finished()).result_files[0])).text();
    assert.equal(text.trim().split("\n").length, 7);
    assert.ok(text.startsWith("step,train_loss"));
  },
  models: async () => {
    const name = (await finished()).fine_tuned_model;
    const listed = (await all(client.models.list())).map((model) => model.id);
    assert.ok(listed.includes("tiny") && listed.includes(name));
    assert.equal((await client.models.retrieve(name)).id, name);
    await refused(() => client.models.delete("tiny"), OpenAI.BadRequestError, "model");
  },
  "models with a slash": async () => {
    assert.equal((await client.models.retrieve("acme/tiny-hub")).id, "acme/tiny-hub");
    await refused(() => client.models.retrieve("acme/none"), OpenAI.NotFoundError, "model");
  },
  "chat, stream, usage": async () => {
    for (const model of ["tiny", (await finished()).fine_tuned_model]) {
      const plain = await whenLoaded(() => client.chat.completions.create(chat({ model })));
      assert.equal(plain.model, model);
      const options = { model, stream: true, stream_options: { include_usage: true } };
      const chunks = await all(await client.chat.completions.create(chat(options)));
      const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
      assert.equal(text, plain.choices[0].message.content);
      assert.deepEqual(chunks.at(-1).usage.completion_tokens, plain.usage.completion_tokens);
    }
    const left = await client.chat.completions.create(chat({ stream: true, max_tokens: 500 }));
    for await (const chunk of left) if (chunk) break;
  },
  "JSON schema": async () => {
    const properties = { category: { enum: ["refund", "delivery"] }, urgent: { type: "boolean" } };
    const schema = { type: "object", properties, required: ["category", "urgent"], additionalProperties: false };
    const format = { type: "json_schema", json_schema: { name: "ticket", strict: true, schema } };
    const answer = await client.chat.completions.parse(chat({ response_format: format, max_tokens: 300, frequency_penalty: 2 }));
    assert.ok(["refund", "delivery"].includes(answer.choices[0].message.parsed.category));
  },
  completions: async () => {
    const answer = await client.completions.create({ model: "tiny", prompt: "Order 3", max_tokens: 5, temperature: 0 });
    assert.equal(answer.object, "text_completion");
  },
  "raw answers and their headers": async () => {
    const { data, response, request_id } = await client.models.list().withResponse();
    assert.ok(data.data.length > 0 && request_id.startsWith("req_"));
    assert.equal(response.headers.get("openai-version"), "2020-10-01");
  },
  moderations: async () => {
    assert.equal((await client.moderations.create({ input: "You are a stupid bitch" })).results[0].flagged, true);
  },
  errors: async () => {
    const wrong = new OpenAI({ baseURL, apiKey: "sk-wrong" });
    await refused(() => wrong.models.list(), OpenAI.AuthenticationError);
    await refused(() => client.chat.completions.create(chat({ model: "none" })), OpenAI.NotFoundError, "model");
    await refused(() => client.post("/fine-tunes", { body: {} }), OpenAI.APIError);
    const stranger = new OpenAI({ baseURL, apiKey: keys.stranger_key });
    await refused(async () => stranger.fineTuning.jobs.retrieve((await finished()).id), OpenAI.NotFoundError);
  },
  "batches (refused)": async () => {
    assert.equal((await refused(() => client.batches.list(), OpenAI.NotFoundError)).code, "not_served");
  },
};

for (const [row, check] of Object.entries(rows)) {
  const began = performance.now();
  const said = await check().then(
    () => "",
    (error) => `${error.name}: ${error.message}`.slice(0, 300),
  );
  console.log(JSON.stringify({ row, said, seconds: Math.round((performance.now() - began) / 100) / 10 }));
}
