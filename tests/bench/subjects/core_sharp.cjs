// sharp: scaled while decoded, upright, as JPEG. Speaks the protocol of subject.py.
const net = require("net");
const fs = require("fs");
const sharp = require("sharp");

const data = fs.readFileSync(JSON.parse(process.argv[4]).file);
const channel = new net.Socket({ fd: Number(process.argv[2]) });
sharp.cache(false);

const answer = (value) => channel.write(JSON.stringify(value) + "\n");

async function step() {
  const cpu = process.cpuUsage();
  const wall = process.hrtime.bigint();
  await sharp(data)
    .rotate()
    .resize(300, 300, { fit: "inside", withoutEnlargement: true })
    .flatten({ background: "white" })
    .jpeg({ quality: 85 })
    .toBuffer();
  const used = process.cpuUsage(cpu);
  answer({ cpu: (used.user + used.system) / 1e6, wall: Number(process.hrtime.bigint() - wall) / 1e9 });
}

channel.on("data", async (line) => {
  if (line.toString().startsWith("step")) return step();
  const status = fs.readFileSync("/proc/self/status", "utf8");
  answer({ bytes: Number(/VmHWM:\s+(\d+)/.exec(status)[1]) * 1024 });
});
channel.on("end", () => process.exit(0));
answer({ ready: true });
