// Stands in for Flamenco's Manager: compiles a job type's script and prints its JOB_TYPE and the tasks of a job.
// node flamenco_manager.js SCRIPT SETTINGS: the script sees what Flamenco's gives it and nothing of Node.
"use strict";

const fs = require("fs");
const vm = require("vm");

const [script, settings] = process.argv.slice(2);
const tasks = [];
const author = {
    Task: (name, type) => {
        const task = { name, type, commands: [], dependencies: [] };
        return Object.assign(task, {
            addCommand: command => task.commands.push(command),
            addDependency: other => task.dependencies.push(other.name),
        });
    },
    Command: (name, parameters) => ({ name, parameters }),
};
const job = { name: "walk", settings: JSON.parse(settings), addTask: task => tasks.push(task) };
const context = vm.createContext({ author, print: () => {}, alert: () => {}, job });
vm.runInContext(fs.readFileSync(script, "utf8"), context);
vm.runInContext("compileJob(job)", context);
console.log(JSON.stringify({ type: vm.runInContext("JOB_TYPE", context), tasks }));
