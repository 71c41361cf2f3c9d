// Run the vendor's Node SDK on order: JSON lines in, JSON lines out. Started by tests.support.node_sdk.
//
// An order is {base_url, api_key, code, arguments}. The code is the body of an async function of `videodb` (the SDK), `conn` (a
// connection to that server) and `args` (the arguments); what it returns goes back as far as JSON holds it.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const videodb = createRequire(process.argv[2])('videodb');
const AsyncFunction = (async () => {}).constructor;

async function run({ base_url: baseUrl, api_key: apiKey, code, arguments: args }) {
  try {
    const conn = videodb.connect({ apiKey, baseUrl });
    const result = await new AsyncFunction('videodb', 'conn', 'args', code)(videodb, conn, args);
    return { result: result ?? null };
  } catch (error) {
    // The SDK's errors keep the service's message in `cause`.
    const message = `${error.message} ${JSON.stringify(error.cause ?? '')}`;
    return { error: error.constructor.name, message, trace: String(error.stack) };
  }
}

console.log = console.error; // the answers have standard output for themselves
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await run(JSON.parse(line))) + '\n');
}
process.exit(0);
