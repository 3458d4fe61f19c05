// Google's clients for Node over gRPC: a stream of messages, queues, a task.
import { PubSub } from "@google-cloud/pubsub";
import tasks from "@google-cloud/tasks";

const [project, parent] = process.argv.slice(2);
const pubsub = new PubSub({ projectId: project });
const [topic] = await pubsub.createTopic("from-node");
const [subscription] = await topic.createSubscription("to-node", {
  streamingOptions: { maxStreams: 1 },
});
const heard = [];
const all = new Promise((resolve, reject) => {
  subscription.on("error", reject);
  subscription.on("message", async (message) => {
    if (message.data.toString() === "again" && !heard.includes("refused")) {
      heard.push("refused");
      message.nack();
      return;
    }
    heard.push(message.data.toString());
    message.ack();
    if (heard.length === 4) resolve();
  });
});
for (const text of ["one", "two", "again"]) {
  await topic.publishMessage({ data: Buffer.from(text), attributes: { from: "node" } });
}
await all;
await subscription.close();
const queues = new tasks.CloudTasksClient();
const [listed] = await queues.listQueues({ parent });
const [task] = await queues.createTask({
  parent: `${parent}/queues/clients`,
  task: { httpRequest: { url: "https://example.com/", httpMethod: "POST" } },
});
console.log(
  JSON.stringify({
    heard: heard.sort(),
    queue: listed[0].name,
    task: task.name,
  }),
);
process.exit(0);
