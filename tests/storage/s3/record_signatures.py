"""Records signatures of botocore into tests/data/golden/s3_signatures.json, which tests compare with ours:

    /usr/bin/python3 tests/storage/s3/record_signatures.py >tests/data/golden/s3_signatures.json

Needs Debian's python3-botocore. Keys with everything that has been signed wrong before, queries without values and in
any order, with and without a session token, path-style and by host.
"""
import datetime
import hashlib
import json
import urllib.parse

import botocore
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5)
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEHoaDmV1LWNlbnRyYWwtMSJ//token+with/odd=characters=="
KEYS = ["plain.txt", "with space.txt", "plus+plus.txt", "100%.txt", "%41.txt", "Zürich/Straße.epub", "日本語/本.epub",
        "tilde~.txt", "a//b.txt", "/leading.txt", "amp&equals=.txt", "quote'(star)*!.txt", "hash#question?.txt",
        "colon:at@semi;comma,.txt", "back\\slash.txt", "[brackets]{braces}|^`.txt", "emoji😀.txt", "dots.../x..y.txt",
        "\u0001control.txt"]
QUERIES = [[], [["uploads", ""]], [["uploadId", "a/b+c=="], ["partNumber", "12"]],
           [["prefix", "Zürich/a b+c~"], ["list-type", "2"]], [["uploads", ""], ["prefix", ""], ["encoding-type", "url"]],
           [["b", "2"], ["a", "1"], ["a", "0"], ["A", "3"]]]
HEADERS = [[], [["x-amz-meta-audiobookd-fingerprint", "123:abc"], ["if-none-match", "*"]],
           [["x-amz-meta-title", "  two  spaces  "], ["content-type", "audio/mpeg"]]]


class Clock(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return NOW


def sign(method, host, path, query, headers, body, token):
    url = "https://" + host + urllib.parse.quote(path, safe="/~")
    if query:
        url += "?" + "&".join(urllib.parse.quote(name, safe="~") + ("=" + urllib.parse.quote(value, safe="~") if value else "")
                              for name, value in query)
    request = AWSRequest(method, url, data=body.encode(), headers=dict(headers))
    botocore.auth.S3SigV4Auth(Credentials("AKIDEXAMPLE", SECRET, token or None), "s3", "eu-central-1").add_auth(request)
    return request.headers["Authorization"]


def cases():
    buckets = [("s3.example:9000", "/books/"), ("books.s3.eu-central-1.amazonaws.com", "/")]
    for i, key in enumerate(KEYS):
        host, prefix = buckets[i % 2]
        yield "GET", host, prefix + key, [], [], "", TOKEN if i % 3 == 0 else ""
    for i, query in enumerate(QUERIES):
        for method, body in (("GET", ""), ("POST", "<x/>")):
            yield method, buckets[i % 2][0], buckets[i % 2][1] + "with space+.mp3", query, [], body, ""
    for headers in HEADERS:
        for token in ("", TOKEN):
            yield "PUT", buckets[0][0], "/books/book.mp3", [], headers, "content", token


def main():
    botocore.auth.datetime.datetime = Clock
    recorded = []
    for method, host, path, query, headers, body, token in cases():
        recorded.append({"method": method, "host": host, "path": path, "query": query, "headers": headers,
                         "payload_sha256": hashlib.sha256(body.encode()).hexdigest(), "session_token": token,
                         "authorization": sign(method, host, path, query, headers, body, token)})
    print(json.dumps({"botocore": botocore.__version__, "time": "20260102T030405Z", "region": "eu-central-1",
                      "access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET, "cases": recorded},
                     indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
