// The official TypeScript SDK as a caller of the proxy uses it.
// Usage: node client.mjs SCENARIO MODEL, with the proxy's base URL in BASE_URL.
// Asserts what only the SDK's objects can show, and prints as JSON what the test looks at.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "key-of-the-caller", timeout: 20_000 });
const [scenario, model] = process.argv.slice(2);

const mcp = { enabled: true, servers: ["everything"], auto_execute_tools: true };
const messages = [{ role: "user", content: "Greet me and tell me the time." }];
const ownTool = { type: "function", function: { name: "own_clock", parameters: { type: "object", properties: {} } } };

const scenarios = {
  // The answer and its receipt, from one call.
  async answer() {
    const answer = await client.chat.completions.create({ model, messages, mcp });
    return { content: answer.choices[0].message.content, mcp: answer.mcp, usage: answer.usage };
  },

  // Without auto-execution the tool calls come back.
  async offer() {
    const answer = await client.chat.completions.create({ model, messages, mcp: { ...mcp, auto_execute_tools: false } });
    assert.equal(answer.choices[0].finish_reason, "tool_calls");
    return answer.choices[0].message.tool_calls;
  },

  // The stream helper puts the tool calls together.
  async stream() {
    const answer = await client.chat.completions.stream({ model, messages, mcp }).finalChatCompletion();
    assert.equal(answer.choices[0].finish_reason, "tool_calls");
    return answer.choices[0].message.tool_calls;
  },

  // The stream of a whole loop is put together to what the answer without a stream would be.
  async loop() {
    const asked = { model, messages, mcp };
    const told = client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
    let text = "";
    told.on("content", (delta) => (text += delta));
    const answer = await told.finalChatCompletion();
    const [choice] = answer.choices;
    assert.equal(text, choice.message.content);
    return { message: choice.message, finish_reason: choice.finish_reason, usage: answer.usage };
  },

  // The same with events, which the helper must not mind; ASKED has the messages, and more of `mcp`.
  async events() {
    const { messages, mcp: more } = JSON.parse(process.env.ASKED);
    const asked = { model, messages, mcp: { ...mcp, on_stream: "execute", events: true, ...more } };
    const told = client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
    const events = [];
    told.on("chunk", (chunk) => chunk.mcp?.event && events.push(chunk.mcp));
    const answer = await told.finalChatCompletion();
    const [{ message, finish_reason }] = answer.choices;
    return { message, finish_reason, usage: answer.usage, events };
  },

  // The documented way to mix own tools with those of the servers.
  async resume() {
    const options = { ...mcp };
    for (;;) {
      const answer = await client.chat.completions.create({ model, messages, tools: [ownTool], mcp: options });
      const [{ message: turn, finish_reason }] = answer.choices;
      if (finish_reason !== "tool_calls") return { content: turn.content, mcp: answer.mcp };
      messages.push(...(answer.mcp.messages ?? []), turn);
      for (const call of turn.tool_calls.filter((call) => call.function.name === "own_clock"))
        messages.push({ role: "tool", tool_call_id: call.id, content: "noon" });
      options.resume_tool_calls = true;
    }
  },

  // A wrong request is an error of the SDK's own class, with the member that is wrong.
  async errors() {
    const wrong = (change) => client.chat.completions.create({ model, messages, mcp: { ...mcp, ...change } });
    await assert.rejects(wrong({ servers: ["nobody"] }), (error) => {
      assert(error instanceof OpenAI.NotFoundError);
      assert.deepEqual([error.status, error.code, error.param], [404, "mcp_server_not_found", "mcp.servers[0]"]);
      return true;
    });
    await assert.rejects(wrong({ max_tool_rounds: 0 }), (error) => {
      assert(error instanceof OpenAI.BadRequestError);
      assert.deepEqual([error.status, error.code, error.param], [400, "invalid_mcp_options", "mcp.max_tool_rounds"]);
      return true;
    });
    return "both refused";
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
