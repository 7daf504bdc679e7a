// Flamenco's job type Video as Motion: one clip of a person becomes a motion file, by the worker's command.
// Copy it to the folder "scripts" beside the flamenco-manager program and restart the Manager; see docs/farm.md.

const JOB_TYPE = {
    label: "Video as Motion",
    description: "Turn a clip of a person into a motion file for the Blender extension Import Video as Motion",
    settings: [
        { key: "clip", type: "string", subtype: "file_path", required: true, visible: "web",
          description: "The video, or the first of numbered pictures" },
        { key: "output_folder", type: "string", subtype: "dir_path", required: true, visible: "web",
          description: "Gets motion.npz, status.json and the finished stages; a folder of this job's own" },
        { key: "person", type: "string", default: "MAIN", visible: "web",
          description: "MAIN, ALL, or a number from 1, largest first" },
        { key: "quality", type: "string", default: "auto", choices: ["auto", "fast", "draft", "mixed", "full"],
          visible: "web", description: "Which networks estimate the motion" },
        { key: "start", type: "int32", default: 1, visible: "web", description: "First frame of the clip, from 1" },
        { key: "end", type: "int32", default: 0, visible: "web",
          description: "Last frame of the clip; 0 for its last" },
        { key: "options", type: "string", default: "", visible: "web",
          description: "Further options of the worker's command line, such as --camera static" },
        { key: "python", type: "string", required: true, visible: "web",
          description: "The worker's Python, as the farm's machines see it" },
        { key: "addon_folder", type: "string", required: true, visible: "web",
          description: "The extension's folder, with launch.py in it, as the farm's machines see it" },
    ],
};

// A setting, or its default: the Manager passes on only what was submitted.
function valueOf(settings, key) {
    const given = settings[key];
    return given === undefined || given === null ? JOB_TYPE.settings.find(each => each.key === key).default : given;
}

function compileJob(job) {
    const value = key => valueOf(job.settings, key);
    const task = author.Task("estimate motion", "misc");
    task.addCommand(author.Command("exec", {
        exe: value("python"),
        args: [
            "-I", "-u", "-X", "utf8", value("addon_folder") + "/launch.py", "wham_blender.pipeline.farm_job",
            value("clip"), value("output_folder"),
            "--person=" + value("person"), "--quality=" + value("quality"),
            "--start=" + value("start"), "--end=" + value("end"), "--options=" + value("options"),
        ],
    }));
    job.addTask(task);
}
