"""What the handlers of the crash test do. Whatever they answer depends on what they were asked alone, so runs can be compared."""

import hashlib

import anyio

from organism import Context, Reply, Send, payload


@payload
class Job:
    """Something to be done."""

    text: str


@payload
class Count:
    """Something to be done ``left`` times more."""

    text: str
    left: int


@payload
class Said:
    """What came of it."""

    text: str


async def shelf(job: Job, ctx: Context) -> Reply[Said]:
    """Gives a book, and counts in its state how many it gave in this thread."""
    given: int = ctx.state.get("given", 0) + 1
    ctx.state["given"] = given
    return Reply(Said(f"book {given} for {_short(job.text)}"))


async def tally(job: Job, ctx: Context) -> Reply[Said]:
    """Counts letters, in a sub-thread of its own."""
    await anyio.lowlevel.checkpoint()
    return Reply(Said(f"{len(job.text)} letters of {_short(job.text)}"))


async def worker(job: Job, ctx: Context) -> Reply[Said]:
    """Asks the model twice, one after the other."""
    first = await ctx.complete(f"Work on {job.text}")
    second = await ctx.complete([*_turn(f"Work on {job.text}", first.text), {"role": "user", "content": "Go on"}])
    return Reply(Said(f"{first.text}, {second.text}"))


async def fan(job: Job, ctx: Context) -> Reply[Said]:
    """Asks the model ten times at once, two of the questions twice."""
    texts = [""] * 10

    async def one(number: int) -> None:
        texts[number] = (await ctx.complete(f"{job.text}, part {number % 8}", max_output_tokens=300)).text

    async with anyio.create_task_group() as group:
        for number in range(len(texts)):
            group.start_soon(one, number)
    counted = await ctx.ask("tally", Job(" ".join(texts)), expect=Said)
    return Reply(Said(f"{' | '.join(texts)}: {counted.text}"))


async def gather(message: Job | Said, ctx: Context) -> list[Send[Job]] | Reply[Said] | None:
    """Sends three workers out, and answers when its state has heard from all of them."""
    if isinstance(message, Job):
        return [Send("worker", Job(f"{message.text}, third {number}")) for number in range(3)]
    heard: list[str] = sorted([*ctx.state.get("heard", []), message.text])
    ctx.state["heard"] = heard
    return Reply(Said(" + ".join(heard))) if len(heard) == 3 else None


async def chief(job: Job, ctx: Context) -> Reply[Said]:
    """Spawns two workers, has minutes kept meanwhile, and waits for all."""
    errands = [
        await ctx.spawn("worker", Job(f"{job.text}, errand {number}"), budget={"tokens": 100_000, "seconds": 900})
        for number in range(2)
    ]
    first = await ctx.ask("scribe", Job(f"{job.text}, page one"), expect=Said)
    between = await ctx.complete(f"Think of {first.text}")
    second = await ctx.ask("scribe", Job(f"{job.text}, page two after {between.text}"), expect=Said)
    done = [(await errand.result()).reply_as(Said).text for errand in errands]
    return Reply(Said(" / ".join([first.text, between.text, second.text, *done])))


async def counter(message: Count | Said, ctx: Context) -> Send[Count] | Reply[Said]:
    """Sends to itself until nothing is left. What it tells the model of time and dice is the same when it is run again."""
    if isinstance(message, Said):
        return Reply(Said(f"{message.text}, {ctx.state['steps']} steps"))
    steps: int = ctx.state.get("steps", 0) + 1
    ctx.state["steps"] = steps
    system = {"role": "system", "content": f"It is {ctx.now().isoformat()}; the dice say {ctx.random.random()}."}
    asked = f"{_short(message.text)}, step {steps}"
    first = await ctx.complete([system, {"role": "user", "content": asked}])
    second = await ctx.complete([system, *_turn(asked, first.text), {"role": "user", "content": "And then?"}])
    text = f"{asked}: {first.text} {second.text}"
    return Send("counter", Count(text, message.left - 1)) if message.left else Reply(Said(text))


def _turn(asked: str, said: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def _short(text: str) -> str:
    """A text that may be long, by a name that depends on all of it."""
    return f"{text[:24]} {hashlib.sha256(text.encode()).hexdigest()[:8]}"
