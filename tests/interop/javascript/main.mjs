// node main.mjs FILES TRANSPORT URL: runs the flows and prints what they have seen.

import {readFile} from "node:fs/promises";
import {ArmoniK} from "./armonik.mjs";
import {runAll} from "./flows.mjs";
import {Grpc} from "./grpc.mjs";
import {GrpcWeb} from "./grpc_web.mjs";

const [files, transport, url] = process.argv.slice(2);
const kind = {"grpc": Grpc, "grpc-web": GrpcWeb}[transport];
const api = new ArmoniK(JSON.parse(await readFile(files)), new kind(url));
console.log(await runAll(api));
