// An agent of Mastra on `@ai-sdk/openai-compatible`.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Agent } from "@mastra/core/agent";
import { createTool } from "@mastra/core/tools";
import { serve, weather } from "./driver.mjs";

function agent(task) {
  const own = createTool({
    id: weather.name,
    description: weather.description,
    inputSchema: weather.schema,
    execute: (asked) => task.weather(asked),
  });
  return new Agent({
    id: "secretary",
    name: "Secretary",
    instructions: "You keep the tracker.",
    model: createOpenAICompatible({ name: "proxy", baseURL: task.base_url, apiKey: task.key })(task.model),
    tools: { [weather.name]: own },
  });
}

const whole = (running, messages, options) => running.generate(messages, options);

async function streamed(running, messages, options) {
  const output = await running.stream(messages, options);
  let text = "";
  for await (const piece of output.textStream) text += piece;
  if (output.error) throw output.error;
  return { text, response: await output.response };
}

serve({
  agent(task) {
    const running = agent(task);
    let history = [];
    return task.converse(async (question) => {
      const abortSignal = AbortSignal.timeout(task.timeout * 1000);
      const options = { maxSteps: 10, providerOptions: { proxy: { mcp: task.mcp } }, abortSignal };
      const messages = [...history, { role: "user", content: question }];
      const { text, response } = await (task.stream ? streamed : whole)(running, messages, options);
      // Mastra gives what there is by then.
      abortSignal.throwIfAborted();
      history = [...messages, ...response.messages];
      return text;
    });
  },
});
