"""What the training machine lacks, in one folder: the corpus, flite and espeak-ng with their libraries and data."""

import re
import shutil
import subprocess
from pathlib import Path

from .texts import collect

PROGRAMS = ("flite", "espeak-ng")
ESPEAK_DATA = "espeak-ng-data"
KEPT_DATA = ("phondata", "phonindex", "phontab", "intonations", "en_dict")  # and the voices
SYSTEM_LIBRARIES = re.compile(r"(libc|libm|libdl|librt|libpthread|ld-linux.*)\.so")


def libraries_of(program: Path) -> list[Path]:
    """Everything that the program loads except the C library, which the other machine's must be not older than."""
    listing = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"(\S+) => (/\S+)", listing)
    return [Path(path) for name, path in found if not SYSTEM_LIBRARIES.match(name)]


def find_espeak_data() -> Path:
    for folder in (Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib"), Path("/usr/share")):
        if (folder / ESPEAK_DATA).is_dir():
            return folder / ESPEAK_DATA
    raise FileNotFoundError("espeak-ng-data: not found (Debian package espeak-ng-data)")


def pack(target: Path) -> None:
    for folder in ("bin", "lib", f"share/{ESPEAK_DATA}"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        program = shutil.which(name)
        if program is None:
            raise FileNotFoundError(f"{name}: not found (a Debian package of that name)")
        shutil.copy(program, target / "bin")
        for library in libraries_of(Path(program)):
            shutil.copy(library, target / "lib" / library.name)
    data = find_espeak_data()
    for name in KEPT_DATA:
        shutil.copy(data / name, target / "share" / ESPEAK_DATA / name)
    shutil.copytree(data / "voices", target / "share" / ESPEAK_DATA / "voices", dirs_exist_ok=True)
    shutil.copytree(data / "lang/gmw", target / "share" / ESPEAK_DATA / "lang/gmw", dirs_exist_ok=True)
    collect(target / "corpus.txt.gz")
    size = sum(f.stat().st_size for f in target.rglob("*") if f.is_file())
    print(f"pack: {size / 2**20:.1f} MiB in {target}")
