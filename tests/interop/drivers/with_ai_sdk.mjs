// The AI SDK with `@ai-sdk/openai-compatible`: a program with `generateText` and `streamText`, and `useChat` in front of
// the route that the documentation has for it. In `chat_client` the page runs the tool, not the route.

import { once } from "node:events";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
// What `useChat` is made of; it needs no page.
import { Chat } from "@ai-sdk/react";
import * as ai from "ai";
import { serve, weather } from "./driver.mjs";

const request = (task, execute) => ({
  model: createOpenAICompatible({ name: "proxy", baseURL: task.base_url, apiKey: task.key })(task.model),
  tools: { [weather.name]: ai.tool({ description: weather.description, inputSchema: weather.schema, execute }) },
  stopWhen: ai.stepCountIs(10),
  providerOptions: { proxy: { mcp: task.mcp } },
  abortSignal: AbortSignal.timeout(task.timeout * 1000),
});

async function streamed(options) {
  const failed = [];
  const result = ai.streamText({ ...options, onError: ({ error }) => failed.push(error) });
  let text = "";
  for await (const piece of result.textStream) text += piece;
  if (failed.length) throw failed[0];
  return { text, responseMessages: await result.responseMessages };
}

// A program that keeps the model's messages.
function program(task) {
  const answer = task.stream ? streamed : ai.generateText;
  let history = [];
  return task.converse(async (question) => {
    const messages = [...history, { role: "user", content: question }];
    const { text, responseMessages } = await answer({ ...request(task, (asked) => task.weather(asked)), messages });
    history = [...messages, ...responseMessages];
    return text;
  });
}

// The route makes model messages of what the page sends, which keeps UI messages.
async function route(task, execute) {
  const server = createServer(async (asked, answer) => {
    const { messages } = await json(asked);
    const result = ai.streamText({ ...request(task, execute), messages: await ai.convertToModelMessages(messages) });
    result.pipeUIMessageStreamToResponse(answer, { onError: (error) => `${error.name}: ${error.message}` });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return server;
}

async function page(task, server, onToolCall) {
  const chat = new Chat({
    transport: new ai.DefaultChatTransport({ api: `http://127.0.0.1:${server.address().port}/api/chat` }),
    sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithToolCalls,
    onToolCall: (called) => onToolCall?.(chat, called),
  });
  try {
    return await task.converse(async (question) => {
      await chat.sendMessage({ text: question });
      await settled(chat);
      return chat.lastMessage.parts.findLast((part) => part.type === "text").text;
    });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

// The page's own tool makes it send again by itself, after `sendMessage` has ended.
async function settled(chat) {
  const isOpen = () => chat.status !== "ready" || chat.lastMessage.parts.at(-1).type !== "text";
  while (!chat.error && isOpen()) await new Promise((done) => setTimeout(done, 10));
  if (chat.error) throw chat.error;
  // Where the route has given up there is no answer, and no error either.
  if (chat.lastMessage.role === "user") throw new Error("no answer came");
}

serve({
  text: program,
  chat: async (task) => page(task, await route(task, (asked) => task.weather(asked))),
  chat_client: async (task) =>
    page(task, await route(task), async (chat, { toolCall: { toolName: tool, toolCallId, input } }) => {
      const output = await task.weather(input);
      // Not awaited, as the documentation has it: the answer is still being read.
      chat.addToolOutput({ tool, toolCallId, output });
    }),
});
