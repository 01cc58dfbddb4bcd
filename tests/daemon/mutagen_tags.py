"""What mutagen (Debian: python3-mutagen) reads of an MP3, as JSON:

    /usr/bin/python3 mutagen_tags.py FILE    {"seconds", "frames": {id: text}, "chapters": [{"start", "end", "title"}]}
"""
import json
import sys

import mutagen.mp3

file = mutagen.mp3.MP3(sys.argv[1])
toc = [name for frame in file.tags.getall("CTOC") for name in frame.child_element_ids]
chapters = {frame.element_id: frame for frame in file.tags.getall("CHAP")}
json.dump({
    "seconds": file.info.length,
    "frames": {frame.HashKey: str(frame.text[0]) for frame in file.tags.values() if hasattr(frame, "text")},
    "cover_bytes": sum(len(frame.data) for frame in file.tags.getall("APIC")),
    "chapters": [{"start": chapters[name].start_time / 1000, "end": chapters[name].end_time / 1000,
                  "title": str(chapters[name].sub_frames["TIT2"].text[0])} for name in toc],
}, sys.stdout)
