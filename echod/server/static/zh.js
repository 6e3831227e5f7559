// Chinese for what the page says in English; tests/browser/test_words.py keeps the list complete.

export const chinese = {
  // index.html
  "Skip to the content": "跳到正文",
  "Views": "页面",
  "Clips": "视频",
  "Talk": "对话",
  "Devices": "设备",
  "Account": "账户",
  "Light or dark": "切换浅色或深色",
  "Make a picture speak": "让照片开口说话",
  "Drop a portrait here": "把人像照片拖到这里",
  "One face, seen from the front": "正面、清晰的一张脸",
  "Choose a picture": "选择照片",
  "Portrait": "人像",
  "None chosen yet": "还没有选择",
  "Choose another": "换一张",
  "What it says": "说什么",
  "Type words": "输入文字",
  "Record": "录音",
  "Use a recording": "使用录音文件",
  "Words to be spoken": "要说的话",
  "Hello! It is good to see you.": "你好！很高兴见到你。",
  "Voice": "声音",
  "Drop a recording here, or": "把录音拖到这里，或者",
  "Choose a recording": "选择录音",
  "Recording": "录音",
  "Options": "选项",
  "Engine": "引擎",
  "Size": "尺寸",
  "Seed": "随机种子",
  "Another seed": "换一个随机种子",
  "Make the clip": "生成视频",
  "Your clips": "我的视频",
  "Nothing yet. The first one will appear here.": "还没有视频，做好的第一个会出现在这里。",
  "Show older clips": "显示更早的视频",
  "Talk to someone": "找人聊聊",
  "Show me an example": "看一个示例",
  "Add the examples": "添加示例角色",
  "Choose whom to talk to.": "选择聊天对象。",
  "How it answers": "回答方式",
  "Video": "视频",
  "Voice only": "仅语音",
  "What was said": "对话记录",
  "Say something": "说点什么",
  "Type, or hold to talk": "打字，或按住说话",
  "Type something": "打字",
  "No voice is installed on the daemon's machine: the answers come as text.": "服务所在的机器上没有安装声音：回答以文字显示。",
  "No voice is installed on the daemon's machine, so words cannot be spoken. Record yourself, or use a recording.":
    "服务所在的机器上没有安装声音，无法朗读文字。请录音，或使用录音文件。",
  "Hold to talk, or tap to start and stop": "按住说话，或点按开始与结束",
  "Hands-free": "免按说话",
  "Send": "发送",
  "Stop the answer": "停止回答",
  "Talk to someone else": "换个人聊",
  "Admins see each worker here, and what it does.": "管理员在这里可以看到每个设备及其工作。",
  "Waiting": "等待中",
  "Sign out": "退出登录",
  "API tokens": "API 令牌",
  "For programs: give one to the command line as ECHOD_TOKEN, or to an OpenAI client as its API key.":
    "供程序使用：命令行里设为 ECHOD_TOKEN，或作为 OpenAI 客户端的 API key。",
  "Name": "名称",
  "Good for": "有效期",
  "30 days": "30 天",
  "90 days": "90 天",
  "One year": "一年",
  "Until it is revoked": "直到撤销",
  "Make a token": "创建令牌",
  "Copy it now: it is not shown again.": "请现在复制：它不会再次显示。",
  "The new token": "新令牌",
  "Copy": "复制",
  "Sign in": "登录",
  "Password": "密码",
  "This page cannot be used from here": "在这里无法使用本页面",
  "Clips made here are AI-generated, and their files say so. Use portraits of people who agree.":
    "这里制作的视频由 AI 生成，文件中也有标注。请只使用本人同意的肖像。",
  "For programs": "编程接口",

  // account.js
  "Signed in as {name}, an admin.": "已登录：{name}（管理员）。",
  "Signed in as {name}.": "已登录：{name}。",
  "This daemon has no accounts yet: whoever is on its own machine, or comes through a proxy or a tunnel there, may use and see everything here. To change that, on that machine: echod users add NAME --role admin":
    "此服务还没有账户：本机上的任何人，以及经由本机的代理或隧道进来的任何人，都可以使用并看到这里的一切。如需更改，请在该机器上运行：echod users add 名字 --role admin",
  "until {day}": "有效至 {day}",
  "until it is revoked": "直到撤销",
  "last used {day}": "上次使用 {day}",
  "not used lately": "最近未使用",
  "Revoke": "撤销",
  "Revoke {name}": "撤销 {name}",
  "Revoke {name}? Programs that use it will be refused.": "撤销 {name}？使用它的程序将被拒绝。",
  "Copied": "已复制",

  // clip.js, player.js
  "Being made": "生成中",
  "Completed": "已完成",
  "Failed": "失败",
  "Cancelled": "已取消",
  "Speaking the words": "朗读文字",
  "Finding the face": "寻找人脸",
  "Listening to the speech": "分析语音",
  "Studying the portrait": "研究人像",
  "Imagining the motion": "构思动作",
  "Drawing the pictures": "绘制画面",
  "Putting it together": "合成视频",
  "Clip": "视频",
  "Loading…": "加载中…",
  "Progress": "进度",
  "Next in line": "下一个就是它",
  "{n} before it": "前面还有 {n} 个",
  "Beginning": "开始",
  "window {done} of {total}": "窗口 {done}/{total}",
  "Length": "时长",
  "Frames": "帧数",
  "Made in": "用时",
  "{n} s": "{n} 秒",
  "Submitted": "提交于",
  "Kept until": "保留至",
  "A preview: the picture's own lips are moved. It is not EchoMimic.":
    "这是预览：只是牵动照片自己的嘴唇，并非 EchoMimic。",
  "Cancel": "取消",
  "Download": "下载",
  "Delete": "删除",
  "Make another": "再做一个",

  // clips.js, doings.js
  "Search your clips": "搜索我的视频",
  "Search": "搜索",
  "Delete all of these": "全部删除",
  "Copy link": "复制链接",
  "Again, with changes": "修改后再做",
  "Delete “{title}”? It cannot be brought back.": "删除“{title}”？删除后无法恢复。",
  "Link copied. It opens without signing in until {until}.": "链接已复制，{until} 前无需登录即可打开。",
  "Failed and cancelled: {n}": "失败和已取消：{n}",
  "Delete {n} failed and cancelled clips?": "删除 {n} 个失败和已取消的视频？",
  "Looking through older clips…": "正在查找更早的视频…",
  "Nothing is called so.": "没有找到。",

  "The clip: {title}": "视频：{title}",

  // devices.js
  "Idle": "空闲",
  "Busy": "工作中",
  "Starting": "启动中",
  "Stopping": "正在停止",
  "The daemon finishes its work before it restarts.": "服务正在完成手头的工作，随后重启。",
  "Ready for work.": "可以工作。",
  "No worker is ready.": "没有可用的设备。",
  "Nothing loaded yet": "尚未加载",
  "Your waiting clips": "我的等待中的视频",
  "No clip is waiting.": "没有等待中的视频。",
  "None of your clips is waiting.": "你没有等待中的视频。",
  "restarted once": "重启过一次",
  "restarted {n} times": "重启过 {n} 次",

  // main.js
  "The connection to the daemon was lost. Trying to get it back…": "与服务的连接断开，正在重连…",
  "This daemon has no accounts yet, so it serves its own machine only. To add one, there: echod users add NAME --role admin":
    "此服务还没有账户，因此只服务本机。可在本机添加：echod users add 名字 --role admin",

  "The name or the password is wrong. Try again.": "名称或密码错误，请重试。",

  // make.js
  "The seed must be a whole number, such as 420.": "随机种子必须是整数，例如 420。",
  "The portrait is not there any more: files are kept for a day. Choose the picture again.":
    "照片已不在服务器上（文件只保留一天）。请重新选择照片。",
  "The recording is not there any more: files are kept for a day. Choose or record it again.":
    "录音已不在服务器上（文件只保留一天）。请重新选择或录制。",
  "preview – quick, a puppet of the picture": "preview – 快速预览，牵动照片",
  "EchoMimic – 6 steps": "EchoMimic – 6 步",
  "EchoMimic quality – 30 steps, slow": "EchoMimic 高质量 – 30 步，较慢",
  "Automatic": "自动",
  "automatic": "自动",
  "seed": "种子",
  "All of that clip is here. Change what you like.": "那个视频的内容都在这里，可以随意修改。",
  "Hello! I am only a picture, and yet I speak. Give me a portrait of yours, and words to say.":
    "你好！我只是一张照片，却会说话。给我一张你的照片，再给我想说的话吧。",
  "Example": "示例",
  "The clip is being made.": "视频正在生成。",
  "Still looking at the picture. The clip is made right after.": "还在查看照片，看完就生成视频。",
  "Still listening to the recording. The clip is made right after.": "还在检查录音，检查完就生成视频。",
  "Choose a portrait first.": "请先选择人像照片。",
  "Type the words to be spoken first.": "请先输入要说的话。",
  "Record something first.": "请先录音。",
  "Choose a recording first.": "请先选择录音。",

  // portrait.js, speech.js, microphone.js
  "Looking for the face…": "正在寻找人脸…",
  "Your portrait": "你选择的人像",
  "No face was found: the middle of the picture will be used.": "没有找到人脸：将使用照片中间的部分。",
  "One face found.": "找到一张脸。",
  "{n} faces found; the largest one will speak.": "找到 {n} 张脸；最大的那张会说话。",
  "recording": "录音",
  "Stop recording": "停止录音",
  "Listening to it…": "正在检查录音…",
  "The microphone is not allowed. Allow it in the browser's settings for this page.":
    "未获准使用麦克风。请在浏览器设置中为本页面允许麦克风。",
  "No microphone was found. Connect one, or use a recording.": "没有找到麦克风。请接上一个，或使用录音文件。",
  "The microphone is in use by another program. Close it and try again.": "麦克风被其他程序占用。请关闭后重试。",
  "Browsers give the microphone only to pages opened by https, or on the daemon's own machine.":
    "浏览器只允许通过 https 或在服务本机打开的页面使用麦克风。",

  // roles.js, role.js
  "There are no roles yet. Begin with one of these examples, or make one of your own.":
    "还没有角色。可以从这些示例开始，也可以自己创建。",
  "There are no roles yet. An admin makes them here, or with: echod roles add ada":
    "还没有角色。管理员可以在这里创建，或运行：echod roles add xiaolin",
  "Make a role": "创建角色",
  "Change {title}": "修改{title}",
  "Who it is": "是谁",
  "Ada, flight instructor": "小林，科技馆讲解员",
  "Its first words": "开场白",
  "How it thinks and talks; only admins see this": "性格与说话方式（仅管理员可见）",
  "Language": "语言",
  "Short name": "短名称",
  "Save": "保存",
  "Back": "返回",

  // talk.js, transcript.js
  "Connecting…": "连接中…",
  "The connection was lost. Trying to get it back…": "连接断开，正在重连…",
  "Ready": "就绪",
  "Listening": "正在听",
  "Hearing you": "听到你在说",
  "Thinking…": "思考中…",
  "Speaking": "正在说",
  "The conversation could not be continued; a new one begins.": "先前的对话无法继续，开始新的对话。",
  "There is no role called {name}.": "没有名为 {name} 的角色。",
  "(nothing was heard)": "（没有听到声音）",
  "(not understood)": "（没有听清）",
  "You": "你",
  "Answer": "回答",

  // words.js
  "a moment left": "马上就好",
  "about {n} s left": "约剩 {n} 秒",
  "about {n} min left": "约剩 {n} 分钟",

  // refusals.js
  "These are {n} characters, and at most {most} are taken.": "共 {n} 个字符，最多 {most} 个。",
  "Something that was entered is not possible. Change it and try again.": "填写的内容有误，请修改后重试。",
  "The daemon does not answer. Check that it runs; this page tries again by itself.":
    "服务没有响应。请确认它在运行；本页面会自动重试。",
  "This picture cannot be read. Choose another one, or a smaller copy of it as PNG, JPEG or WebP.":
    "无法读取这张图片。请换一张，或改用它的较小副本（PNG、JPEG 或 WebP）。",
  "No face was found. Choose a picture with one face, seen from the front and well lit.":
    "没有找到人脸。请选择一张光线良好的正面人像。",
  "This recording cannot be read. Choose a WAV, MP3, M4A or OGG file that other programs play.":
    "无法读取这段录音。请选择其他程序能播放的 WAV、MP3、M4A 或 OGG 文件。",
  "Nothing can be heard in this recording. Check the microphone and record again.":
    "这段录音里听不到声音。请检查麦克风后重录。",
  "This recording is too short. Say a few words more.": "录音太短了，请多说几个字。",
  "This recording is too long. Cut it, or ask your admin to raise max_seconds.":
    "录音太长了。请剪短，或请管理员调高 max_seconds。",
  "This size is not possible. Choose another one under Options.": "不支持这个尺寸。请在选项中换一个。",
  "This file cannot be used. A portrait must be a picture, such as PNG or JPEG, speech a recording, such as WAV or MP3.":
    "无法使用这个文件。人像须是图片（如 PNG、JPEG），语音须是录音（如 WAV、MP3）。",
  "This engine or role is not there at present. Choose another one.": "这个引擎或角色目前不可用，请换一个。",
  "No voice for these words is installed on the daemon's machine.": "服务所在的机器上没有能说这些文字的声音。",
  "Nothing on the daemon's machine understands speech: please type.": "服务所在的机器上没有语音识别，请打字。",
  "No language model is set up on the daemon's machine, so nobody can answer.":
    "服务所在的机器上没有配置语言模型，无法回答。",
  "What helps, run on that machine:": "可以在那台机器上运行：",
  "The face is only {n} pixels wide, so that the clip is soft. Use a closer picture, or a smaller size.":
    "照片里的脸只有 {n} 像素宽，视频会模糊。请换一张更近的照片，或选小一点的尺寸。",
  "This is not there any more. It may have expired or been deleted.": "它已经不在了，可能已过期或被删除。",
  "This is not finished yet. Wait a little and try again.": "还没有完成，请稍后再试。",
  "This was sent before with other contents. Try again.": "相同的请求已用其他内容提交过，请重试。",
  "This file is too big. Choose a smaller one, or ask your admin to raise max_upload.":
    "文件太大了。请换小一点的，或请管理员调高 max_upload。",
  "You have been signed out. Sign in again.": "登录已失效，请重新登录。",
  "This is not allowed here.": "这里不允许这样做。",
  "Too many clips are waiting. Try again when some are done.": "等待的视频太多了，请稍后再试。",
  "You have too many clips waiting. Try again when some are done, or cancel one.":
    "你等待中的视频太多了。请等几个完成，或取消一个。",
  "Too many tries in a short time. Wait a moment, then try again.": "尝试太频繁了，请稍等再试。",
  "The daemon is about to restart. Try again in a minute.": "服务即将重启，请一分钟后再试。",
  "No device can work at present. Look under Devices; an admin can repair it.":
    "目前没有可用的设备。请查看“设备”页，由管理员处理。",
  "The daemon's disk is full. Delete old clips, or ask your admin.": "服务器磁盘已满。请删除旧视频，或联系管理员。",
  "The daemon's disk cannot be written. Tell your admin.": "服务器磁盘无法写入。请通知管理员。",
  "Something went wrong inside the daemon. Try again; its log says more.": "服务内部出错。请重试；日志里有详情。",
  "Making this clip crashed the worker twice, so it was given up. Try another portrait or recording.":
    "生成这个视频时两次崩溃，已放弃。请换一张照片或录音。",
  "The worker got stuck on this clip. Try again, perhaps in a smaller size.": "生成这个视频时卡住了。请重试，或换小一点的尺寸。",
  "The device has not enough memory for this clip. Choose a smaller size.": "设备内存不够。请选择更小的尺寸。",
  "The engine made no usable picture of this. Try another seed or portrait.":
    "引擎没能画出可用的画面。请换随机种子或照片。",
  "This was cancelled.": "已取消。",
  "What you said could not be understood, because speech recognition failed. Try again, or type.":
    "语音识别失败，没能听懂你说的话。请重试，或改用文字。",
  "The language model failed to answer. Try again.": "语言模型没有回答成功，请重试。",
  "These words could not be spoken. Change them, or choose another voice, and try again.":
    "这些文字没能合成语音。请修改文字或换一个声音，然后重试。",
  "The speech model in use exists no more. An admin must choose another one in the settings.":
    "所用的语音模型已下线。请管理员在设置中更换。",
};
