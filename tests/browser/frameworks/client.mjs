// Node's own client: uploads a file in one piece of a resumable session, and in pieces.
import { Storage } from "@google-cloud/storage";

const storage = new Storage();
const [bucket] = await storage.createBucket(`${process.env.GOOGLE_CLOUD_PROJECT}-node`);
const data = Buffer.alloc(700_000, "portal");
for (const [name, more] of Object.entries({ whole: {}, pieces: { chunkSize: 2 ** 18 } })) {
  const file = bucket.file(name);
  await file.save(data, { resumable: true, contentType: "text/plain", ...more });
  const [content] = await file.download();
  const [metadata] = await file.getMetadata();
  console.log(name, content.equals(data), metadata.size, metadata.contentType);
}
