// openai for Node: the loop over tool calls that everybody writes, over `create`, `stream` and `parse`, and the SDK's own
// loop, `runTools`.

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { serve, weather } from "./driver.mjs";

const tools = [zodFunction({ name: weather.name, description: weather.description, parameters: weather.schema })];
const response_format = zodResponseFormat(z.object({ summary: z.string() }), "report");

const runnable = (task) => ({
  type: "function",
  function: {
    name: weather.name,
    description: weather.description,
    parameters: z.toJSONSchema(weather.schema),
    parse: JSON.parse,
    function: (asked) => task.weather(asked),
  },
});

function completions(task) {
  return new OpenAI({ baseURL: task.base_url, apiKey: task.key, timeout: task.timeout * 1000 }).chat.completions;
}

// A message as the model gave it, without what `parse` adds.
function unparsed({ parsed, tool_calls, ...message }) {
  const called = ({ id, type, function: { parsed_arguments, ...called } }) => ({ id, type, function: called });
  return { ...message, ...(tool_calls?.length && { tool_calls: tool_calls.map(called) }) };
}

// The SDK's own timeout is over when a stream begins.
const limited = (task) => ({ signal: AbortSignal.timeout(task.timeout * 1000) });

// Until the model says something without asking for a tool.
async function loop(task, messages, turn) {
  for (;;) {
    const { message } = (await turn({ model: task.model, messages, tools, mcp: task.mcp })).choices[0];
    messages.push(unparsed(message));
    if (!message.tool_calls?.length) return message;
    for (const { id, function: called } of message.tool_calls) {
      if (called.name !== weather.name) throw new Error(`there is no tool ${called.name}`);
      messages.push({ role: "tool", tool_call_id: id, content: await task.weather(JSON.parse(called.arguments)) });
    }
  }
}

// A conversation that keeps the messages as the SDK gives them.
const conversation = (answer) => (task) => {
  const messages = [];
  return task.converse((question) => {
    messages.push({ role: "user", content: question });
    return answer(task, messages);
  });
};

serve({
  create: conversation(async (task, messages) => {
    const chat = completions(task);
    const whole = (request) => chat.create(request);
    const streamed = (request) => chat.stream(request, limited(task)).finalChatCompletion();
    return (await loop(task, messages, task.stream ? streamed : whole)).content;
  }),

  parse: conversation(async (task, messages) => {
    const chat = completions(task);
    const whole = (request) => chat.parse({ ...request, response_format });
    const streamed = (request) => chat.stream({ ...request, response_format }, limited(task)).finalChatCompletion();
    return (await loop(task, messages, task.stream ? streamed : whole)).parsed.summary;
  }),

  run_tools: conversation(async (task, messages) => {
    const { model, mcp, stream } = task;
    const request = { model, messages, tools: [runnable(task)], mcp, stream };
    const runner = completions(task).runTools(request, stream ? limited(task) : {});
    const text = await runner.finalContent();
    messages.splice(0, messages.length, ...runner.messages);
    return text;
  }),
});
