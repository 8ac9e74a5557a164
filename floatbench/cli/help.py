"""What `--help` shows beside the options themselves: groups of commands and options, and two examples a command."""

from __future__ import annotations

COMMAND_PANELS: dict[str, tuple[str, ...]] = {
    "Start": ("demo", "generate", "web"),
    "Measure": ("run", "score", "speed", "ablate", "synth"),
    "Report": ("report", "compare", "ledger", "explain", "leaderboard", "votes"),
    "Extend": ("train", "baseline", "metrics", "protocol"),
    "Keep": ("weights", "cache", "merge", "doctor"),
}
OPTION_PANELS: dict[str, tuple[str, ...]] = {
    "Machine": (
        "workers",
        "threads",
        "device",
        "dtype",
        "impl",
        "compile",
        "graphs",
        "encoder",
        "executor",
        "address",
        "timeout",
    ),
    "When something is missing": ("skip_unavailable", "skip_rejected", "retry_failed", "retry", "fabricated", "force"),
    "Every command": ("json", "offline", "quiet", "help"),
}
"""Options that are alike in all commands; the others are shown first, as they come."""
SWITCHES = "Switches"
"""The group of options with a `--no-` form."""
ENVIRONMENT = (
    "An option is also read from the environment: --skip-unavailable of `run` is FLOATBENCH_RUN_SKIP_UNAVAILABLE."
)
EXAMPLES: dict[str, tuple[str, str]] = {
    "": ("floatbench demo", "floatbench run --protocol synthetic --methods float-tiny --limit 2"),
    "demo": ("floatbench demo", "floatbench demo --image face.png --audio speech.wav -o me.mp4"),
    "generate": (
        "floatbench generate --image face.png --audio speech.wav -o out.mp4",
        "floatbench generate -i face.png -a speech.wav --preset paper --emotion sad",
    ),
    "web": ("floatbench web", "floatbench web --port 7900 --device cuda"),
    "run": (
        "floatbench run -p hdtf -m 'videos:mine as Ours' -o runs/ours",
        "floatbench run --protocol synthetic --methods float-tiny --limit 2",
    ),
    "score": (
        "floatbench score --generated mine --reference real",
        "floatbench score --generated mine --reference real --metrics psnr-grey128",
    ),
    "speed": (
        "floatbench speed --methods float --scenario forward --out speed.json",
        "floatbench speed --methods float-tiny --device cpu --repeats 3",
    ),
    "ablate": (
        "floatbench ablate --protocol hdtf --sweep nfe --out runs/nfe",
        "floatbench ablate -p synthetic --table 3 --train --steps 600 --limit 6",
    ),
    "synth": ("floatbench synth --out heads --identities 4", "floatbench synth --out heads --size 256 --seconds 6"),
    "report": (
        "floatbench report runs/ours --row --name ours=Ours --format latex",
        "floatbench report runs/ours --figure frames --out frames.pdf",
    ),
    "compare": ("floatbench compare runs/ours", "floatbench compare runs/ours runs/theirs Ours Theirs"),
    "ledger": ("floatbench ledger runs/ours", "floatbench ledger runs/ours --json"),
    "explain": ("floatbench explain runs/a runs/b", "floatbench explain runs/a runs/b --json"),
    "votes": ("floatbench votes votes.json runs/ours", "floatbench votes ratings-anna.json ratings-ben.json runs/ours"),
    "merge": ("floatbench merge part1 part2 --out whole", "floatbench merge part1 part2 --out whole --json"),
    "doctor": ("floatbench doctor", "floatbench doctor --quiet"),
    "baseline list": ("floatbench baseline list", "floatbench baseline list --json"),
    "baseline show": ("floatbench baseline show hallo", "floatbench baseline show hallo --profile period"),
    "baseline install": (
        "floatbench baseline install sadtalker --accept-license",
        "floatbench baseline install hallo --source clones/hallo --weights files",
    ),
    "baseline check": (
        "floatbench baseline check sadtalker",
        "floatbench baseline check hallo --frames 25",
    ),
    "baseline run": (
        "floatbench baseline run sadtalker -i face.png -a speech.wav -o out.mkv",
        "floatbench baseline run hallo -i face.png -a speech.wav -o out.mkv",
    ),
    "baseline certify": ("floatbench baseline certify sadtalker", "floatbench baseline certify hallo --frames 25"),
    "baseline new": ("floatbench baseline new mine", "floatbench baseline new mine --folder baselines"),
    "cache path": ("floatbench cache path", "floatbench cache path --json"),
    "cache ls": ("floatbench cache ls", "floatbench cache ls --json"),
    "cache gc": ("floatbench cache gc", "floatbench cache gc --keep-days 30"),
    "leaderboard submit": (
        "floatbench leaderboard submit runs/ours --method Ours",
        "floatbench leaderboard submit runs/ours --method Ours --board board",
    ),
    "leaderboard validate": (
        "floatbench leaderboard validate",
        "floatbench leaderboard validate 9f2c41d07be35a68 --run runs/ours",
    ),
    "leaderboard build": ("floatbench leaderboard build", "floatbench leaderboard build --board board"),
    "leaderboard diff": (
        "floatbench leaderboard diff old/leaderboard results/leaderboard",
        "floatbench leaderboard diff old/leaderboard results/leaderboard --json",
    ),
    "leaderboard export": (
        "floatbench leaderboard export 9f2c41d07be35a68",
        "floatbench leaderboard export 9f2c41d07be35a68 --out index.yml",
    ),
    "metrics list": ("floatbench metrics list", "floatbench metrics list --json"),
    "metrics show": ("floatbench metrics show fid", "floatbench metrics show csim-source --json"),
    "metrics tell": ("floatbench metrics tell runs/damaged", "floatbench metrics tell runs/damaged --out tells.md"),
    "metrics check": (
        "floatbench metrics check --protocol folder:real --clips 4",
        "floatbench metrics check --protocol synthetic --clips 4 --out checks",
    ),
    "protocol list": ("floatbench protocol list", "floatbench protocol list --json"),
    "protocol show": ("floatbench protocol show hdtf --clips", "floatbench protocol show folder:real --boxes none"),
    "protocol fetch": ("floatbench protocol fetch hdtf", "floatbench protocol fetch ravdess --accept-license"),
    "protocol prepare": ("floatbench protocol prepare hdtf --workers 4", "floatbench protocol prepare hdtf --retry"),
    "protocol verify": ("floatbench protocol verify hdtf", "floatbench protocol verify hdtf --raw"),
    "protocol export": (
        "floatbench protocol export hdtf --for-method folder --out handed-out",
        "floatbench protocol export folder:real --boxes none --out handed-out",
    ),
    "protocol check": (
        "floatbench protocol check hdtf --videos finished",
        "floatbench protocol check folder:real --boxes none --videos finished",
    ),
    "train backbones": ("floatbench train backbones --out tiny", "floatbench train backbones --out tiny --people 200"),
    "train autoencoder": (
        "floatbench train autoencoder --config float-512 --out training",
        "floatbench train autoencoder --config float-tiny --out training --steps 100",
    ),
    "train flow": (
        "floatbench train flow --config float-512 --out training",
        "floatbench train flow --out training --validate synthetic --every 500",
    ),
    "weights list": ("floatbench weights list", "floatbench weights list --used-by fid"),
    "weights show": ("floatbench weights show float", "floatbench weights show float --json"),
    "weights fetch": (
        "floatbench weights fetch --for hdtf --accept-license",
        "floatbench weights fetch inception-fid",
    ),
    "weights import": (
        "floatbench weights import float float.pth",
        "floatbench weights import scrfd-det-10g buffalo_l.zip",
    ),
    "weights verify": ("floatbench weights verify", "floatbench weights verify --answers"),
    "weights path": ("floatbench weights path float", "floatbench weights path float --json"),
    "weights fabricate": ("floatbench weights fabricate float", "floatbench weights fabricate --all --seed 1"),
    "weights convert": (
        "floatbench weights convert float.pth float.safetensors",
        "floatbench weights convert float.pth out.safetensors --with-speech",
    ),
}


def command_panel(name: str) -> str | None:
    """The group of commands that a command of the program, or a group of them, is shown in."""
    return next((panel for panel, names in COMMAND_PANELS.items() if name in names), None)


def option_panel(name: str, switch: bool = False) -> str | None:
    """The group that an option is shown in, None for the first.

    Args:
        switch: whether it has a `--no-` form, whose column would narrow the texts of all others in its group.
    """
    found = next((panel for panel, names in OPTION_PANELS.items() if name in names), None)
    return found or (SWITCHES if switch else None)


def value_word(kind: str) -> str:
    """What stands for a value in the list of options: one word for `<list[str]>`, none for a switch."""
    words = {"str": "TEXT", "Path": "PATH", "path": "PATH", "int": "N", "float": "X", "bool": ""}
    kind = kind.strip("<>").removesuffix(" range")
    return words.get(kind.removeprefix("list[").removesuffix("]"), kind)


def epilogue(path: str) -> str:
    """The lines under the options of a command, `weights fetch` say: its examples and the rule of the environment."""
    shown = EXAMPLES.get(path, ())
    return "\n\n".join(["Examples:", *(f"  {line}" for line in shown), "", ENVIRONMENT] if shown else [ENVIRONMENT])
