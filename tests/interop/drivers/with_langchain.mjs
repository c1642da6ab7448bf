// An agent of LangChain.js on `@langchain/openai`, with a checkpointer and interrupts of LangGraph.

import { tool } from "@langchain/core/tools";
import { Command, interrupt, MemorySaver } from "@langchain/langgraph";
import { ChatOpenAI } from "@langchain/openai";
import { createAgent } from "langchain";
import { serve, weather } from "./driver.mjs";

function agent(task, run) {
  const model = new ChatOpenAI({
    model: task.model,
    apiKey: task.key,
    configuration: { baseURL: task.base_url },
    timeout: task.timeout * 1000,
    modelKwargs: { mcp: task.mcp },
  });
  return createAgent({ model, tools: [tool(run, weather)], checkpointer: new MemorySaver() });
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

async function waits(running) {
  const { tasks } = await running.graph.getState(thread);
  return tasks.some(({ interrupts }) => interrupts.length);
}

const asking = (question) => ({ messages: [{ role: "user", content: question }] });

serve({
  agent(task) {
    const running = agent(task, (asked) => task.weather(asked));
    const answer = task.stream ? streamed : whole;
    return task.converse((question) => answer(running, asking(question)));
  },

  // A person lets the tool go on.
  interrupted(task) {
    const asked = (city) => (interrupt("May I look?") === "yes" ? task.weather(city) : "You may not.");
    const running = agent(task, asked);
    const answer = task.stream ? streamed : whole;
    return task.converse(async (question) => {
      let text = await answer(running, asking(question));
      while (await waits(running)) text = await answer(running, new Command({ resume: "yes" }));
      return text;
    });
  },
});
