"""The help of commands, a paragraph each, and of options."""

from __future__ import annotations

HELP = {
    # cli.py
    "Make a portrait speak: talking-head clips on your own GPU box.": "让人像开口说话：在自己的 GPU 主机上制作说话人视频。",
    "`echod serve` runs the daemon; `echod submit PORTRAIT SPEECH` and `echod say PORTRAIT TEXT` make a clip, and "
    "`echod chat` talks to a role.": "`echod serve` 运行守护进程；`echod submit PORTRAIT SPEECH` 和 `echod say PORTRAIT TEXT` "
    "制作视频，`echod chat` 与角色对话。",
    "The daemon, for every command that calls one: http://HOST:PORT or unix:PATH.": "守护进程的地址，供所有需要连接它的命令使用："
    "http://HOST:PORT 或 unix:PATH。",
    # common.py
    "Print JSON.": "输出 JSON。",
    "Print nothing on stderr but errors.": "stderr 上只输出错误。",
    "The daemon: http://HOST:PORT or unix:PATH. [else ECHOD_URL]": "守护进程：http://HOST:PORT 或 unix:PATH。[否则用 ECHOD_URL]",
    "How long to wait for a daemon that restarts.": "守护进程重启时等待多久。",
    # serve.py
    "Run the daemon in the foreground, until SIGTERM or Ctrl-C.": "在前台运行守护进程，直到 SIGTERM 或 Ctrl-C。",
    "The first lets running jobs finish, a second stops at once; what had not finished goes on with the next start. "
    "Every flag is also a setting: see `echod config show`.": "第一次让正在进行的任务做完，第二次立即停止；没做完的在下次启动后继续。"
    "每个选项也都是一项设置，见 `echod config show`。",
    "Address of the TCP port. [default: 127.0.0.1]": "TCP 端口的地址。[默认：127.0.0.1]",
    "TCP port; 0 takes any free one. [default: 8765]": "TCP 端口；0 表示任一空闲端口。[默认：8765]",
    "Listen beyond loopback though there is no account yet.": "尽管还没有账户，也监听本机以外的地址。",
    "One worker for each, such as cuda:0,cuda:1 or cpu,cpu; ray or ray:8 of a Ray cluster. [default: auto]": "每个设备一个工作进程，"
    "例如 cuda:0,cuda:1 或 cpu,cpu；Ray 集群用 ray 或 ray:8。[默认：auto]",
    "Ray cluster: local, auto, ray://head:10001. [default: local]": "Ray 集群：local、auto、ray://head:10001。[默认：local]",
    "What makes the frames: {}. [default: auto]": "由什么生成画面：{:s}。[默认：auto]",
    "What EchoMimic computes in: {}. [default: auto]": "EchoMimic 的计算精度：{:s}。[默认：auto]",
    "What makes EchoMimic's pictures: vae, taesd. [default: vae]": "由什么绘制 EchoMimic 的画面：vae、taesd。[默认：vae]",
    "Whether kernels are compiled for cards: auto, off. [default: auto]": "是否为显卡编译内核：auto、off。[默认：auto]",
    "Journal, uploads, jobs and their clips.": "日志库、上传文件、任务及其视频的目录。",
    "The unix socket and the workers' sockets.": "unix 套接字和工作进程套接字的目录。",
    "Model files.": "模型文件的目录。",
    "Log one JSON object a line.": "日志每行一个 JSON 对象。",
    "Least level logged: {}.": "记录的最低日志级别：{:s}。",
    "The same as --log-level debug.": "等同于 --log-level debug。",
    # submit.py, say.py, making.py
    "Make a clip of PORTRAIT speaking SPEECH, and print its path.": "用人像 PORTRAIT 和录音 SPEECH 制作视频，并打印其路径。",
    "Either may be - for stdin. Without -o the clip is saved here as SPEECH's name with .mp4, or with -1.mp4 and so on "
    "where that is taken. Ctrl-C cancels the job.": "两者之一可以是 -，表示 stdin。不给 -o 时，视频以 SPEECH 的名字加 .mp4 存到当前目录，"
    "若已被占用则加 -1.mp4，依此类推。Ctrl-C 取消任务。",
    "Make a clip of PORTRAIT saying TEXT, and print its path.": "让人像 PORTRAIT 说出文字 TEXT，制作视频并打印其路径。",
    "Either may be - for stdin. Without -o the clip is saved here under the first words of TEXT with .mp4, or with "
    "-1.mp4 and so on where that is taken. Ctrl-C cancels the job.": "两者之一可以是 -，表示 stdin。不给 -o 时，视频以 TEXT 开头的文字加 .mp4 "
    "存到当前目录，若已被占用则加 -1.mp4，依此类推。Ctrl-C 取消任务。",
    "Who speaks, as in `echod voices`. [default: the daemon's voice]": "由谁说，名称见 `echod voices`。[默认：守护进程的声音]",
    "Where the clip goes; replaces a file there.": "视频存到哪里；会替换那里的文件。",
    "What it is called. [default: the recording's name, or first words]": "视频的标题。[默认：录音的名字，或开头的文字]",
    "What makes the frames; default: the daemon's main engine.": "由什么生成画面；默认是守护进程的主引擎。",
    "Same seed, same clip. [default: {}]": "种子相同，视频就相同。[默认：{}]",
    "The face alone, or the whole picture with the head moving in it. [default: picture; face with --size]": "只有脸部（face），"
    "或头部在动的整张照片（picture）。[默认：picture；给了 --size 则为 face]",
    "Size of the face as it is made, and of its clip. [default: 512x512]": "生成的脸部及其视频的尺寸。[默认：512x512]",
    "The part of the picture that frames are made of. [default: by the face]": "用照片的哪一部分生成画面。[默认：按脸的位置]",
    "How much more than the face, on each side. [default: 0.5]": "脸的每一侧再多取多少。[默认：0.5]",
    "Which face, from left to right from 0. [default: the largest]": "用哪张脸，从左到右、从 0 数起。[默认：最大的]",
    "Frames per second. [default: 24]": "每秒帧数。[默认：24]",
    "Denoising steps, for engines that have them.": "去噪步数，适用于有此项的引擎。",
    "Strength of guidance, for engines that have it.": "引导强度，适用于有此项的引擎。",
    "Encode without loss, for further editing: large, and few players play it.": "无损编码，供后期编辑：文件很大，能播放的播放器很少。",
    "Write AI-generated into a corner. [default: as the daemon has it]": "在角落写上“AI生成”。[默认：按守护进程的设置]",
    "The label's. [default: the daemon's]": "标识的语言。[默认：守护进程的设置]",
    "Print the job's id and leave.": "打印任务 id 后退出。",
    # chat.py
    "Talk to a role, and print its answers sentence by sentence.": "与角色对话，逐句打印回答。",
    "What you say is typed, or comes line by line through a pipe. In mode audio an answer is saved as ROLE-TURN.wav, in "
    "mode video each of its sentences as ROLE-TURN-N.mp4; no file is replaced. Where there is no voice, answers are "
    "text. Ctrl-C interrupts an answer, another one leaves; so does Ctrl-D. With --json every turn is one line of "
    "JSON.": "要说的话由键盘输入，或从管道逐行读入。audio 方式下回答存为 ROLE-TURN.wav，video 方式下每句存为 ROLE-TURN-N.mp4；"
    "不会替换任何文件。没有声音时，回答是文字。Ctrl-C 打断回答，再按一次则退出；Ctrl-D 也是退出。加 --json 时每轮一行 JSON。",
    "Whom to talk to, as in `echod roles list`. [default: nobody in particular]": "与谁对话，名称见 `echod roles list`。[默认：不指定角色]",
    "How it answers. [default: as the role does]": "回答方式。[默认：按角色]",
    "Who speaks, as in `echod voices`. [default: the role's voice]": "由谁说，名称见 `echod voices`。[默认：角色的声音]",
    "What its clips show. [default: as the role does]": "视频显示什么。[默认：按角色]",
    "Where answers are saved. [default: a new directory, ROLE-DATE-TIME]": "回答存到哪里。[默认：新目录 ROLE-日期-时间]",
    "Play answers, by mpv, ffplay or the like.": "播放回答，用 mpv、ffplay 之类的程序。",
    # jobs.py
    "List the jobs that wait or run, newest first.": "列出等待中和进行中的任务，最新的在前。",
    "Also jobs that have ended.": "也列出已结束的任务。",
    "Show one job.": "显示一个任务。",
    "Print what happens to one job until it ends, or to all until Ctrl-C. --json prints one object a line.": "打印一个任务的变化直到它结束，"
    "或所有任务的变化直到 Ctrl-C。--json 每行打印一个对象。",
    "On a terminal all jobs have a line each, which changes in place.": "在终端上每个任务占一行，原地更新。",
    "Wait until jobs have ended, and print how each did. Ctrl-C leaves them running.": "等任务结束，并打印各自的结果。Ctrl-C 只退出，"
    "任务继续进行。",
    "Cancel jobs: at once those that wait, at their next checkpoint those that run.": "取消任务：等待中的立即取消，进行中的到下一个检查点取消。",
    "Delete jobs with their clips; those that have not ended are cancelled first.": "删除任务及其视频；未结束的先取消。",
    "Keep clips until they are removed, whatever their age and however many there are.": "保留视频直到被删除，不论多旧、有多少。",
    "Keep clips no longer than new ones.": "取消保留：视频的期限重新与新视频相同。",
    "Save a finished job's clip, and print its path. Without -o it is saved here as ID.mp4, never replacing a "
    "file.": "保存已完成任务的视频，并打印其路径。不给 -o 时以 ID.mp4 存到当前目录，从不替换文件。",
    "Save the clip's manifest too, beside it as CLIP.manifest.json.": "同时保存视频的清单，放在旁边，名为 CLIP.manifest.json。",
    # verify.py
    "Tell what CLIP says about itself: who signed it, and whether it was changed since.": "查看视频 CLIP 的自述：由谁签名，之后是否被改动。",
    "With --portrait and --speech the daemon makes it again, and its frames are compared. Exits with 0 if all is well "
    "(intact; the same frames), with 1 if not (tampered with; different), with 2 where that cannot be "
    "told.": "加上 --portrait 和 --speech 时，守护进程重新生成一遍并逐帧比较。退出码：没有问题（完好；帧相同）为 0，有问题（被改动；不同）为 1，"
    "无法判断为 2。",
    "What it was made of: with --speech it is made again.": "制作所用的人像：与 --speech 一起给出则重新生成。",
    "And the recording.": "制作所用的录音。",
    "Its manifest. [default: beside the clip, or in it]": "视频的清单。[默认：在视频旁边，或在视频里]",
    "Certificates of authorities that are believed.": "所信任的证书颁发者的证书。",
    # voices.py, roles.py
    "List the voices that `echod say --voice` takes. A backend may have others, which are named in full.": "列出 `echod say --voice` "
    "可用的声音。后端可能还有别的声音，须写全名。",
    "List, show, add and remove roles.": "列出、显示、添加和删除角色。",
    "A role is a folder with role.toml and a portrait. Folders put under roles/ of the state directory count "
    "too.": "角色是一个文件夹，里面有 role.toml 和一张人像。放在状态目录的 roles/ 下的文件夹也算。",
    "List roles. To admins, folders that are none say why, on stderr.": "列出角色。对管理员，还会在 stderr 上说明哪些文件夹不是角色及其原因。",
    "Show one role.": "显示一个角色。",
    "Add the role in FOLDER, which has a role.toml and the portrait it names, or an EXAMPLE that comes with echod: ada "
    "speaks English, xiaolin Chinese. For admins.": "添加文件夹 FOLDER 中的角色（其中有 role.toml 和它所指的人像），或 echod 自带的示例 "
    "EXAMPLE：ada 说英语，xiaolin 说中文。仅限管理员。",
    "Its name. [default: that of the folder or the example]": "角色的名字。[默认：文件夹或示例的名字]",
    "Replace the role if there is one of this name.": "若已有同名角色则替换。",
    "Remove roles. Jobs made with them go on. For admins.": "删除角色。用它们提交的任务会继续。仅限管理员。",
    "Do not ask.": "不询问。",
    # login.py, users.py, tokens.py
    "Sign in with NAME and password, and keep a token for this daemon.": "用名字 NAME 和密码登录，并保存此守护进程的令牌。",
    "The password is asked for, or read as one line from stdin. The token goes into a file that you alone may read, and "
    "is used wherever ECHOD_TOKEN is not set; `echod logout` ends it.": "密码会被询问，或从 stdin 读一行。令牌存到只有你能读的文件里，"
    "没有设置 ECHOD_TOKEN 时使用；`echod logout` 使它失效。",
    "End the token that `echod login` keeps for this daemon, and forget it.": "使 `echod login` 为此守护进程保存的令牌失效，并删除它。",
    "Change your own password, at the daemon where you are logged in.": "在已登录的守护进程上修改自己的密码。",
    "Both passwords are asked for, or read from stdin, the old one first, as a line each. Sessions and tokens of the "
    "account end; where a token is kept here, a new one takes its place.": "新旧密码会被询问，或从 stdin 各读一行，旧的在前。该账户的会话和令牌随之失效；"
    "这里若保存有令牌，会换成新的。",
    "Add, list and remove the accounts of people.": "添加、列出和删除账户。",
    "Passwords are asked for, or read as one line from stdin; they are never arguments, which other users of the "
    "machine can see.": "密码会被询问，或从 stdin 读一行；从不作为参数，因为本机的其他用户能看到参数。",
    "Add an account. The first one must be an admin's, and is added by the unix socket, on the daemon's own machine; "
    "from then on the TCP port wants a token or a login.": "添加账户。第一个必须是管理员，须在守护进程所在的机器上经由 unix 套接字添加；"
    "此后 TCP 端口要求令牌或登录。",
    "List everybody who has an account.": "列出所有账户。",
    "Change an account's password. Its sessions and tokens end.": "修改账户的密码。其会话和令牌随之失效。",
    "Remove an account with its jobs, clips, files and tokens.": "删除账户及其任务、视频、文件和令牌。",
    "Make, list and revoke API tokens.": "创建、列出和撤销 API 令牌。",
    "Programs send one as `Authorization: Bearer TOKEN`; for this command line it goes into ECHOD_TOKEN.": "程序以 "
    "`Authorization: Bearer TOKEN` 发送；在命令行里设为 ECHOD_TOKEN。",
    "Make a token, called NAME in lists, and print it: this once, since the daemon keeps only a hash.": "创建令牌，在列表中名为 NAME，"
    "并打印它：只此一次，因为守护进程只保存散列值。",
    "Whose it will be; for admins. [default: yours]": "属于谁；仅限管理员。[默认：自己]",
    "To read /metrics and nothing else; for admins.": "只能读 /metrics；仅限管理员。",
    "When it ends, such as 12h or 30d. [default: never]": "何时失效，例如 12h 或 30d。[默认：永不]",
    "List your tokens, without their secrets; admins see everybody's. LAST USED is since the daemon's start.": "列出自己的令牌（不含密钥）；"
    "管理员看到所有人的。“上次使用”从守护进程启动时算起。",
    "End tokens; what is connected with one is cut off.": "撤销令牌；用它建立的连接会被断开。",
    # webhooks.py, usage.py
    "Have URLs told how jobs end.": "任务结束时通知指定的网址。",
    "Each is sent OpenAI's events, signed as Standard Webhooks has it, and again until it answers with 2xx.": "每个网址会收到 OpenAI "
    "格式的事件，按 Standard Webhooks 签名，并重发直到它以 2xx 应答。",
    "Add a URL, and print the secret that its messages are signed with: this once.": "添加网址，并打印其消息的签名密钥：只此一次。",
    "What it is called in lists.": "在列表中的名称。",
    "Which, again for more. [default: all]": "哪些事件，可多次给出。[默认：全部]",
    "Of everybody's jobs, not only one's own; for admins.": "所有人的任务，而不只是自己的；仅限管理员。",
    "List your webhooks; admins see everybody's. FAILED counts events that were given up.": "列出自己的 webhook；管理员看到所有人的。"
    "“失败”是已放弃的事件数。",
    "Show what a webhook was told, newest first, and what waits or was given up.": "显示发给一个 webhook 的内容（最新的在前），"
    "以及等待中和已放弃的。",
    "Send what failed or waits at once, also to a URL that had said that it is gone.": "立即发送失败的和等待中的，也包括曾答复不再存在的网址。",
    "Send a webhook an event of no job, once, and print the status of its answer.": "向 webhook 发送一次不属于任何任务的事件，并打印应答的状态码。",
    "Remove webhooks, and what waits for them.": "删除 webhook 及其等待中的事件。",
    "Sum up the calls of speech backends by day, function and model: yours, or everybody's if you are an "
    "admin.": "按日期、功能和模型汇总语音后端的调用：自己的，管理员则为所有人的。",
    "How many days back; today is the first.": "往回多少天；今天算第一天。",
    # devices.py, bench.py
    "Show the daemon's devices and what each does.": "显示守护进程的设备及其正在做什么。",
    "Check what echod needs on this machine. Exits with 1 where something required is missing.": "检查 echod 在本机所需的一切。缺少必需项时退出码为 1。",
    "Whatever is set up to speak, hear and reply is called once each, also where a call costs money.": "凡是已设置的说、听、答，都会各调用一次，"
    "即使调用要花钱。",
    "Time one job of PORTRAIT and SPEECH, or of examples, and print what it took; the job is removed again.": "用 PORTRAIT 和 SPEECH（"
    "或示例）做一个任务并计时，打印所用的时间等；该任务随后被删除。",
    "Times count from handing in the job, so with upload, inspection and the wait for a worker; those of stages are the "
    "worker's own. Ctrl-C cancels the job.": "时间从提交任务算起，包括上传、检查和等待工作进程；各阶段的时间是工作进程自己的。Ctrl-C 取消任务。",
    "On the daemon's machine, over its unix socket, memory and watts are told too, and for EchoMimic how much of the "
    "device's peak its FLOP are: of a matrix product in the same dtype, timed after the clip. What cannot be had is "
    "said. The last line is for issues.": "在守护进程所在的机器上经由 unix 套接字时，还会给出内存和功率；对 EchoMimic，还有其 FLOP "
    "占设备峰值的多少：峰值是视频完成后用同一精度的矩阵乘法测得的。得不到的会说明。最后一行供报告问题时使用。",
    "Size of the clip. [default: 512x512]": "视频的尺寸。[默认：512x512]",
    # weights.py, settings.py
    "Fetch the engines' model files, and look after them.": "下载和管理引擎的模型文件。",
    "Fetch model files, and print where they are.": "下载模型文件，并打印其所在目录。",
    "WHAT is an engine (echomimic unless given); taesd, the other decoder; whisper:NAME, which hears (tiny.en, base, "
    "small ...); or voice:NAME, a further voice of hibari's (emma ...). Only what is missing or damaged is fetched; a "
    "pull that broke off goes on where it stood. HF_ENDPOINT names a mirror of the hub, where engines and voices are, "
    "HF_TOKEN a token.": "WHAT 是引擎（不给则为 echomimic）；taesd，即另一种解码器；whisper:NAME，用于听（tiny.en、base、small……）；"
    "或 voice:NAME，hibari 的其他声音（emma……）。只下载缺少或损坏的；中断的下载从断点继续。HF_ENDPOINT 指定引擎和声音所在站点的镜像，"
    "HF_TOKEN 指定令牌。",
    "Where the machine's service is installed, root fetches for it: into its directory, as its account.": "若本机安装了系统服务，"
    "root 就为它下载：下载到它的目录，以它的账户进行。",
    "Where the model files are. [else weights_dir]": "模型文件在哪里。[否则用 weights_dir]",
    "Show which files each engine needs and which are there. `verify` looks into them.": "显示各引擎需要哪些文件、已有哪些。"
    "`verify` 会检查文件内容。",
    "Check the files of ENGINE (echomimic unless given). Exits with 1 where anything is wrong.": "检查引擎 ENGINE（不给则为 echomimic）"
    "的文件。有任何问题时退出码为 1。",
    "Names, shapes and values are compared with the model, sizes and sha256 with those recorded when they were "
    "fetched.": "名称、形状和数值与模型比较，大小和 sha256 与下载时的记录比较。",
    "Make small random models in an empty or new directory, for trying the whole path without a download.": "在空目录或新目录中生成小的随机模型，"
    "无需下载即可试用整个流程。",
    "They make coloured noise; clips made with them say that the weights were not EchoMimic's.": "它们只画出彩色噪声；用它们制作的视频会注明权重不是 "
    "EchoMimic 的。",
    "Other seeds, other weights.": "种子不同，权重就不同。",
    "Show the settings, or write a file of them.": "显示设置，或写出设置文件。",
    "Print every setting that `echod serve` would use now, without flags.": "打印 `echod serve` 不带选项时会使用的每项设置。",
    "Say where each value came from.": "注明每个值的来源。",
    "Write a config file with every setting as a comment, and print its path. Never replaces a file.": "写出配置文件，其中每项设置都是注释，"
    "并打印其路径。从不替换文件。",
    "PATH is ~/.config/echod/config.toml unless given; the system's file is /etc/echod/config.toml.": "不给 PATH 则为 "
    "~/.config/echod/config.toml；系统的文件是 /etc/echod/config.toml。",
    # service.py
    "Run the daemon under systemd.": "用 systemd 运行守护进程。",
    "Print the unit file, with the path of this very command in it. `install` puts it in place.": "打印单元文件，其中写有本命令的路径。"
    "`install` 会把它装好。",
    "For `systemctl --user`, without an account of its own.": "用于 `systemctl --user`，没有专用账户。",
    "Set the service up and start it: as root for the machine, with --user for yourself.": "安装并启动服务：以 root 为整台机器安装，"
    "加 --user 则为自己安装。",
    "For the machine: the groups video and render, the account echod, an environment in /opt/echod if the account could "
    "not run this one, /var/lib/echod, a link in /usr/local/bin, the unit, weights, the start, and the first admin, "
    "whose password is asked for or read as one line from stdin. What is there already is left as it is, so a second "
    "run repairs, or brings in the version it is run from.": "为整台机器安装时：用户组 video 和 render、账户 echod、/opt/echod 中的环境（"
    "若该账户无法运行当前环境）、/var/lib/echod、/usr/local/bin 中的链接、单元文件、权重、启动，以及第一个管理员，其密码会被询问或从 stdin 读一行。"
    "已有的保持原样，所以再运行一次就是修复，或换成所运行的版本。",
    "Whose weights to fetch. [default: echomimic with an NVIDIA driver]": "下载哪个引擎的权重。[默认：有 NVIDIA 驱动时为 echomimic]",
    "Fetch none.": "不下载权重。",
    "The first account.": "第一个账户。",
    "Add no account: whoever is on this machine is let in.": "不添加账户：本机上的任何人都可以使用。",
    "Start nothing, as before `echod restore`; adds no account either.": "不启动，例如在 `echod restore` 之前；也不添加账户。",
    "Only print what would be done, in lines for a shell.": "只打印将要做的事，可直接在 shell 中执行。",
    "Stop the service and remove what `install` put in place; what people made stays, unless with --purge.": "停止服务并移除 `install` "
    "装好的一切；用户制作的内容保留，除非加 --purge。",
    "Also clips, accounts, weights, settings, and the account and environment.": "连同视频、账户、权重、设置，以及专用账户和环境。",
    "Do not ask before --purge.": "--purge 之前不询问。",
    # backup.py, completion.py
    "Copy journal, uploads, clips, roles and keys to DIR, a new or empty directory, and print its path.": "把日志库、上传文件、视频、"
    "角色和密钥复制到新目录或空目录 DIR，并打印其路径。",
    "The daemon may run meanwhile. On the same file system clips and uploads are linked, which takes no room; copy DIR "
    "elsewhere to be safe from a broken disk. Settings and weights are not in it. Whoever reads DIR can sign as the "
    "box, and has everybody's clips.": "守护进程可以同时运行。在同一文件系统上，视频和上传文件是硬链接，不占空间；要防磁盘损坏，请把 DIR 再复制到别处。"
    "其中不含设置和权重。能读 DIR 的人可以用本机的名义签名，并拥有所有人的视频。",
    "Exits with 1 where something that the journal knows was not there to be copied.": "日志库中记载的内容若有找不到的，退出码为 1。",
    "Whose. [else the setting; root's: the installed service's]": "哪个状态目录。[否则按设置；root 则为已安装服务的]",
    "Put what `echod backup` copied to DIR into a state directory that holds nothing yet, and print its path.": "把 `echod backup` "
    "复制到 DIR 的内容放进还空着的状态目录，并打印其路径。",
    "No daemon may use it. Jobs that had not ended are begun anew by the next start. Everything belongs to the owner of "
    "the state directory then.": "不能有守护进程在使用它。未结束的任务在下次启动时重新开始。之后一切归状态目录的属主所有。",
    "Print a script that completes commands and options.": "打印补全命令和选项的脚本。",
}
