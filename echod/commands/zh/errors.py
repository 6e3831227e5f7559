"""What goes wrong: sentences of errors, the command line's own first, then the daemon's. Programs get them in English."""

from __future__ import annotations

ERRORS = {
    # client
    "no daemon answers at {}; start one with `echod serve`, or name it with --url or ECHOD_URL": "{:s} 没有守护进程应答；请用 `echod serve` 启动，"
    "或用 --url 或 ECHOD_URL 指定",
    "no daemon answers at {} ({}); start one with `echod serve`, or name it with --url": "{:s} 没有守护进程应答（{:s}）；请用 `echod serve` 启动，"
    "或用 --url 指定",
    "{} is no address; give http://HOST:PORT or unix:PATH": "{:s} 不是地址；请写 http://HOST:PORT 或 unix:PATH",
    "there is no job {}; `echod ps --all` lists them": "没有任务 {}；`echod ps --all` 列出所有任务",
    "{} may be any of {}": "{} 可能是 {:s} 中的任何一个",
    "devices are shown to admins only: call over the unix socket, or put an admin's token into ECHOD_TOKEN": "设备只对管理员显示："
    "请经由 unix 套接字连接，或把管理员的令牌设为 ECHOD_TOKEN",
    "unexpected answer, HTTP {}: {}": "意外的应答，HTTP {}：{:s}",
    "the daemon at {} has accounts: put a token into ECHOD_TOKEN, or run `echod login`; on its own machine its unix "
    "socket needs neither (--url unix:PATH)": "守护进程 {} 有账户：请把令牌设为 ECHOD_TOKEN，或运行 `echod login`；"
    "在它自己的机器上，经由 unix 套接字则都不需要（--url unix:PATH）",
    "the token (ECHOD_TOKEN) has characters that no token has; `echod tokens create` prints a new one": "令牌（ECHOD_TOKEN）"
    "含有令牌中不会有的字符；`echod tokens create` 打印新的令牌",
    "the token is unknown, revoked or expired; put another one into ECHOD_TOKEN, or run `echod login`": "令牌未知、已撤销或已过期；"
    "请换一个设为 ECHOD_TOKEN，或运行 `echod login`",
    "what answers at {} is no echod": "在 {} 应答的不是 echod",
    "the daemon is back": "守护进程回来了",
    "lost the daemon at {}; waiting up to {} s for it": "与守护进程 {} 的连接断开；最多等待 {} 秒",
    "the daemon at {} did not come back within {} s (--reconnect)": "守护进程 {} 在 {} 秒内没有回来（--reconnect）",
    "there is no role {}; `echod roles list` shows all there are": "没有角色 {}；`echod roles list` 显示所有角色",
    "the answer was lost with the connection to the daemon; say it again": "与守护进程的连接断开，回答丢失；请再说一遍",
    "the daemon has forgotten the conversation, as it does when it restarts; it begins anew": "守护进程重启后忘记了对话；对话重新开始",
    "the daemon at {} closed the connection: {}": "守护进程 {} 关闭了连接：{:s}",
    # config.py, kinds.py
    "{} cannot be read: {}": "无法读取 {:s}：{:s}",
    "{}: {}{} is no setting{}": "{0:s}：没有设置 {1:s}{2}{3:t}",
    "; did you mean {}, under [{}]?": "；是不是 [{1}] 下的 {0}？",
    "; `echod config init` writes a file with all of them": "；`echod config init` 写出含有全部设置的文件",
    "{}: {} is set twice, at the top and under its section": "{:s}：{} 设置了两次，在开头和在其小节下",
    "{} = {} (from {}) {}": "{} = {:s}（来自 {:s}）{:t}",
    "must be a number, or a number with a unit, such as {}": "必须是数字，或带单位的数字，例如 {}",
    "is more than can be counted": "超出了可计数的范围",
    "must be {} or more": "必须至少为 {}",
    "must be a whole number": "必须是整数",
    "must be 0 to 65535 (0: any free port)": "必须是 0 到 65535（0：任一空闲端口）",
    "must be true or false": "必须是 true 或 false",
    "must be a path": "必须是路径",
    "must be a path, and ~ in it somebody who has a home": "必须是路径，其中的 ~ 必须是有主目录的用户",
    "is {} bytes long; socket paths leave room for {}": "长 {} 字节；套接字路径只能容纳 {} 字节",
    "must be names: a list, or joined by commas": "必须是名字：列表，或以逗号分隔",
    "must have a number from 1 to {} in {}": "{1} 中的数字必须是 1 到 {0}",
    "must name ray{} alone, or a number: it is all that the cluster has": "ray{} 只能单独写，或写数量：它就是集群的全部",
    "must be auto, or devices such as cuda:0,cuda:1 or cpu,cpu (one worker each), cards by number or all by UUID: "
    "GPU-... or MIG-...; on a Ray cluster ray (every GPU), ray:8 or ray:8/cpu": "必须是 auto，或设备，例如 cuda:0,cuda:1 或 cpu,cpu（"
    "各一个工作进程），显卡用编号或全部用 UUID：GPU-... 或 MIG-...；Ray 集群用 ray（所有 GPU）、ray:8 或 ray:8/cpu",
    "must be local (a cluster of this machine alone, started and ended with the daemon), auto (the one that this "
    "machine is a node of), or an address such as ray://head:10001": "必须是 local（只有本机的集群，随守护进程启动和结束）、auto（本机所属的集群），"
    "或地址，例如 ray://head:10001",
    "must be cpu, or a card such as cuda:1, GPU-... or MIG-...": "必须是 cpu，或显卡，例如 cuda:1、GPU-... 或 MIG-...",
    "must be addresses and networks, such as 127.0.0.0/8,172.17.0.1: {}": "必须是地址和网段，例如 127.0.0.0/8,172.17.0.1：{:s}",
    "must be an address such as 127.0.0.1, ::1 or 0.0.0.0, or the name of one": "必须是地址，例如 127.0.0.1、::1 或 0.0.0.0，或主机名",
    "must be a URL such as https://clips.example.org": "必须是 URL，例如 https://clips.example.org",
    "must be a line of text": "必须是一行文本",
    "must be a URL such as https://api.example.org/v1": "必须是 URL，例如 https://api.example.org/v1",
    "must have a port from 1 to 65535": "端口必须是 1 到 65535",
    "must be a voice in full, such as local/espeak-ng/en-us: backend/model/name": "必须是声音的全名，例如 local/espeak-ng/en-us：后端/模型/名称",
    "must be one of {}, which are installed": "必须是已安装的 {:s} 之一",
    "must be one of {}": "必须是 {:s} 之一",
    # host
    "other users may write to {} (mode {}): `chmod o-w {}`, or name another directory with --runtime-dir or "
    "--state-dir": "其他用户可以写 {:s}（权限 {}）：`chmod o-w {:s}`，或用 --runtime-dir 或 --state-dir 另行指定目录",
    "{} is no directory; move it away": "{:s} 不是目录；请把它移走",
    "{} belongs to somebody else; name another with --runtime-dir or --state-dir": "{:s} 属于别人；请用 --runtime-dir 或 --state-dir 另行指定",
    "cannot make {}: {}": "无法创建 {:s}：{:s}",
    "another daemon uses {}; stop it, or name another directory with --state-dir": "另一个守护进程在使用 {:s}；请停止它，或用 --state-dir 另行指定目录",
    "{} cannot be locked: {}; its file system must be able to": "无法锁定 {:s}：{:s}；其文件系统必须支持锁",
    "{} must be readable by its owner alone: {}": "{:s} 必须只有属主可读：{:s}",
    "cannot make {}: {}; free some space": "无法创建 {:s}：{:s}；请腾出空间",
    "{} cannot be removed: {}": "无法删除 {:s}：{:s}",
    "{} must hold the key on one line, and nothing else": "{:s} 必须只有一行密钥，别无其他",
    "{} = {} cannot be read: {}": "{} = {:s} 无法读取：{:s}",
    "{} belongs to {}, who cannot run the program in {}; run that of the service: `systemctl cat echod` has its "
    "path": "{:s} 属于 {}，而它不能运行 {:s} 中的程序；请运行服务的程序：其路径见 `systemctl cat echod`",
    "{}: `{}` {}. {} What was done before stays; run this again to go on": "{:t}：`{:s}` {:t}。{:t}此前做好的都保留；再运行一次即可继续",
    "ended with {}": "以 {} 结束",
    "cannot be run: {}": "无法运行：{:s}",
    # backup/
    "the roles in {} change faster than they are copied; try again": "{:s} 中的角色变化得比复制还快；请重试",
    "there is no journal in {}; name the state directory with --state-dir": "{:s} 中没有日志库；请用 --state-dir 指定状态目录",
    "{} lies in the state directory {}; name a directory elsewhere": "{:s} 位于状态目录 {:s} 中；请指定别处的目录",
    "{} has schema {}; this echod knows up to {}": "{:s} 的结构版本为 {}；此 echod 只认得到 {}",
    "{} is another account's; run this as that account, or as root": "{:s} 属于别的账户；请以该账户或 root 运行",
    "the journal in {} names {}, which is no id; it is damaged": "{:s} 中的日志库记有 {:s}，它不是 id；日志库已损坏",
    "{} was taken by echod {} and has schema {}; this echod, {}, knows up to {}. Install {} or a newer one": "{:s} 由 echod {} 备份，结构版本为 {}；"
    "此 echod {} 只认得到 {}。请安装 {} 或更新的版本",
    "{} holds {}: a backup is put where nothing is. Name another directory with --state-dir, or set these aside: "
    "`{}`": "{:s} 中有 {:s}：备份只能放到空的地方。请用 --state-dir 另行指定目录，或把它们移开：`{:s}`",
    "{} is not empty; a backup wants a new directory": "{:s} 不是空的；备份需要新目录",
    "{} cannot be used: {}": "无法使用 {:s}：{:s}",
    "{} is no backup, or one that was broken off: {}: {}": "{:s} 不是备份，或是中断了的备份：{:s}：{:s}",
    "{} is damaged: {} {}, it had {}; take another backup": "{:s} 已损坏：{:s} {:s}，原为 {:s}；请另做备份",
    "{} is damaged: {}: {}; take another backup": "{:s} 已损坏：{:s}：{:s}；请另做备份",
    # accounts
    "the password has {} characters; {} to {} are allowed": "密码有 {} 个字符；允许 {} 到 {} 个",
    "{} passwords wait to be checked; try again": "{} 个密码等待验证；请重试",
    "{} has {} API tokens, and at most {} are allowed (tokens_per_account); `echod tokens list` shows them, `echod "
    "tokens revoke` ends one": "{} 有 {} 个 API 令牌，最多允许 {} 个（tokens_per_account）；`echod tokens list` 显示它们，`echod tokens revoke` 撤销一个",
    "there is no account {}; `echod users list` shows them": "没有账户 {}；`echod users list` 显示所有账户",
    "{} is reserved for callers of the unix socket; choose another name": "{} 保留给 unix 套接字的使用者；请另选名字",
    "{} cannot be the name of an account: 1 to 32 of a-z 0-9 . _ -, a letter or digit first": "{:s} 不能作账户名：须为 1 到 32 个 "
    "a-z 0-9 . _ -，以字母或数字开头",
    "this account has been removed": "此账户已被删除",
    "the name of a token has 1 to {} printable characters": "令牌的名称须为 1 到 {} 个可打印字符",
    "there is no token {}; `echod tokens list` shows them": "没有令牌 {}；`echod tokens list` 显示所有令牌",
    "the name {} is taken": "名字 {} 已被占用",
    "the first account must be an admin: nobody else could add or remove accounts": "第一个账户必须是管理员：否则没有人能添加或删除账户",
    "{} is the last admin; add another one first, or remove everybody else first": "{} 是最后一个管理员；请先添加另一个，或先删除其他所有人",
    "the name or the password is wrong": "名称或密码错误",
    "too many tries {}; try again in {} s": "尝试太频繁（{:s}）；请 {} 秒后再试",
    # what the daemon refuses: speech
    "no face was found in the picture ({} x {}); use one that shows a face from the front, large and evenly lit": "图片（{} x {}）中没有找到人脸；"
    "请用正面、够大、光线均匀的人脸",
    "the file is no picture; {} are read": "文件不是图片；可读取 {:s}",
    "the file is a picture; speech must be a recording": "文件是图片；语音必须是录音",
    "the file is empty": "文件是空的",
    "the file is a recording; a portrait must be a picture": "文件是录音；人像必须是图片",
    "the file cannot be used: {}; {} are read": "无法使用该文件：{:s}；可读取 {:s}",
    "the recording has {} s of sound; at least {} s are needed": "录音有 {} 秒声音；至少需要 {} 秒",
    "the recording is silent: it stays below -60 dBFS throughout; record it louder": "录音没有声音：始终低于 -60 dBFS；请录得大声一些",
    "the recording is longer than {} s (setting max_seconds); send it in parts": "录音超过 {} 秒（设置 max_seconds）；请分段发送",
    "the picture has {} x {} pixels, {} million; at most {} million are read (setting max_pixels); send a smaller "
    "copy": "图片有 {} x {} 像素，即 {} 百万；最多读取 {} 百万（设置 max_pixels）；请发送较小的副本",
    "the picture is damaged or incomplete ({}); open it in an image program and save it again": "图片已损坏或不完整（{:s}）；"
    "请用图像程序打开并重新保存",
    "decoding the file took longer than {} s (setting inspect_timeout); send a smaller or shorter one": "解码该文件超过 {} 秒（设置 "
    "inspect_timeout）；请发送更小或更短的",
    "the file has more than {} bytes (setting max_upload); send a smaller one": "文件超过 {} 字节（设置 max_upload）；请发送更小的",
    # jobs
    "there is no video {} here; `echod ps --all` lists them": "这里没有视频 {}；`echod ps --all` 列出所有任务",
    "this daemon is shutting down; try again when it is back": "守护进程正在关闭；请等它回来后重试",
    "this daemon is shutting down; come back when it is up again": "守护进程正在关闭；请等它重新启动后再来",
    "{} jobs are queued and queue_limit is {}; try again later": "{} 个任务在排队，而 queue_limit 为 {}；请稍后再试",
    "{} jobs of this account are queued and jobs_per_account is {}; try again later": "此账户有 {} 个任务在排队，而 jobs_per_account 为 {}；请稍后再试",
    "{} MiB are free in {} and min_free is {} MiB; remove clips (`echod rm`) or lower min_free": "{1:s} 剩余 {0} MiB，而 min_free 为 {2} MiB；"
    "请删除视频（`echod rm`）或调低 min_free",
    "model {} is not loaded; this daemon has {} (`echod serve --engine` decides that)": "没有加载模型 {:s}；此守护进程有 {:s}（由 "
    "`echod serve --engine` 决定）",
    "size = {}: it must be WIDTHxHEIGHT, each {} to {} in steps of {}, such as 512x512": "size = {:s}：必须是 宽x高，各为 {} 到 {}，步长 {}，"
    "例如 512x512",
    "{} = {}: it must be one of {}": "{} = {:s}：必须是 {:s} 之一",
    "{} = {}: it must be {} from {} to {}": "{0} = {1:s}：必须是 {3} 到 {4} 的{2:t}",
    "a number": "数字",
    "a whole number": "整数",
    "{} = {}: it must be true or false": "{} = {:s}：必须是 true 或 false",
    "crop and dilation are two ways to say the same: leave out one of them": "crop 和 dilation 是同一件事的两种说法：请去掉一个",
    "crop = {}: it must be x0,y0,x1,y1 in pixels of the portrait, such as 100,40,400,340": "crop = {:s}：必须是 x0,y0,x1,y1，以人像的像素计，"
    "例如 100,40,400,340",
    "pinned clips of this account would take {} MiB; pins_per_account is {} MiB. Unpin some (`echod unpin`), or have "
    "the setting raised": "此账户保留的视频将占 {} MiB；pins_per_account 为 {} MiB。请取消保留一些（`echod unpin`），或请人调高该设置",
    "pinned clips of all accounts would take {} MiB, more than half of clips_cap, {} MiB: the other half is for clips "
    "that are not pinned. Unpin some (`echod unpin`), or have the setting raised": "所有账户保留的视频将占 {} MiB，超过 clips_cap（{} MiB）的一半："
    "另一半留给未保留的视频。请取消保留一些（`echod unpin`），或请人调高该设置",
    "it is {}: there is no clip to pin": "状态为“{:t}”：没有可保留的视频",
    "there is no clip yet: {}": "还没有视频：{:t}",
    "uploads and clips of this account take {} MiB{}; disk_per_account is {} MiB. Remove some (`echod rm`), or have the "
    "setting raised": "此账户的上传文件和视频占 {} MiB{:s}；disk_per_account 为 {} MiB。请删除一些（`echod rm`），或请人调高该设置",
    "no device works: {}": "没有可用的设备：{:t}",
    "no device works ({}); repair it, then `systemctl reload echod`": "没有可用的设备（{:s}）；请修复，然后 `systemctl reload echod`",
    # who may
    "this is for admins, and {} is none": "仅限管理员，而 {} 不是",
    "the token in Authorization is unknown, revoked or expired": "Authorization 中的令牌未知、已撤销或已过期",
    "something failed inside the daemon; its log says what": "守护进程内部出错；详情见其日志",
    "there is a role {} already; --replace (PUT /v1/roles/{}) replaces it": "已有角色 {}；--replace（PUT /v1/roles/{}）可替换它",
    "role {} is broken; `echod roles list` shows admins why": "角色 {} 已损坏；管理员可用 `echod roles list` 查看原因",
    "there is no webhook {}; `echod webhooks list` shows them": "没有 webhook {}；`echod webhooks list` 显示所有 webhook",
    "this daemon tells nobody how jobs end (setting webhooks = off)": "此守护进程不通知任何人任务如何结束（设置 webhooks = off）",
    # speech
    "there is no {}; there are {}": "没有 {:s}；有 {:s}",
    "{} is not installed: run `pip install {}`": "没有安装 {:s}：请运行 `pip install {:s}`",
    # weights
    "there are no weights for an engine {}; engines with weights: {}": "引擎 {:s} 没有权重；有权重的引擎：{:s}",
    "{} has {} GB free and {} GB are missing; free some, or name another directory with --weights": "{:s} 剩余 {} GB，还缺 {} GB；请腾出空间，"
    "或用 --weights 另行指定目录",
    "another pull into {} is running": "另一个下载正在写入 {:s}",
    "{} was not fetched from {}: {}": "未能从 {1:s} 下载 {0:s}：{2:t}",
    "{} is not empty; it was left as it is": "{:s} 不是空的；保持原样",
    "{}: copied from {}": "{}：从 {:s} 复制",
    "{}: not what the hub has, will be replaced": "{}：与站点上的不同，将被替换",
}
