// An agent of LangChain.js on `@langchain/openai`, with a checkpointer of LangGraph.

import { tool } from "@langchain/core/tools";
import { MemorySaver } from "@langchain/langgraph";
import { ChatOpenAI } from "@langchain/openai";
import { createAgent } from "langchain";
import { serve, weather } from "./driver.mjs";

function agent(task) {
  const model = new ChatOpenAI({
    model: task.model,
    apiKey: task.key,
    configuration: { baseURL: task.base_url },
    timeout: task.timeout * 1000,
    modelKwargs: { mcp: task.mcp },
  });
  const own = tool((asked) => task.weather(asked), weather);
  return createAgent({ model, tools: [own], checkpointer: new MemorySaver() });
}

const thread = { configurable: { thread_id: "1" } };

async function whole(running, asked) {
  const { messages } = await running.invoke(asked, thread);
  return messages.at(-1).text;
}

// The text of the message that was streamed last.
async function streamed(running, asked) {
  let text = "";
  let last;
  for await (const [piece] of await running.stream(asked, { ...thread, streamMode: "messages" })) {
    text = piece.id === last ? text + piece.text : piece.text;
    last = piece.id;
  }
  return text;
}

serve({
  agent(task) {
    const running = agent(task);
    const answer = task.stream ? streamed : whole;
    return task.converse((question) => answer(running, { messages: [{ role: "user", content: question }] }));
  },
});
