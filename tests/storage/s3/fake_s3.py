"""A small S3 server for tests, in memory. Its signatures are checked by botocore (Debian: python3-botocore), so that
what is accepted here was signed as Amazon's own client signs; and it has the faults that a test asks for.

    /usr/bin/python3 fake_s3.py [FOLDER]    prints its port, serves 127.0.0.1 until its standard input ends; with a
                                            folder by TLS, with a certificate that it writes there as cert.pem

Buckets exist as soon as they are written to, except those whose name begins with "no-". Paths are /BUCKET/KEY, or /KEY of
host BUCKET.localhost. POST /-/control takes {"op": …}, see the functions control_…; /latest/… is the metadata service of
an EC2 machine.
"""
import datetime
import hashlib
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

LOCK = threading.RLock()
REGION = "eu-test-1"


class State:
    """Everything there is; a new one for every test."""

    def __init__(self):
        self.objects = {}  # (bucket, key) -> {data, metadata, etag}
        self.uploads = {}  # id -> {bucket, key, metadata, parts, initiated}
        self.faults = []
        self.requests = []
        self.accounts = {"AKIATEST": ("secret/key+", "")}  # id -> secret, session token
        self.knows = {"put", "complete"}  # which requests heed If-None-Match
        self.clock_offset_s = 0
        self.role = None
        self.released = threading.Event()
        self.forbidden = set()  # actions: "list", "delete"


STATE = State()


class Refusal(Exception):
    def __init__(self, status, code, message="", headers=None, more=""):
        super().__init__(code)
        self.status, self.code, self.message, self.headers, self.more = status, code, message, headers or {}, more


def now():
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=STATE.clock_offset_s)


def etag_of(data):
    return '"' + hashlib.md5(data).hexdigest() + '"'


def check_signature(method, target, headers, body):
    """Raises Refusal unless botocore signs the request as it was signed."""
    authorization = headers.get("Authorization", "")
    if not authorization.startswith("AWS4-HMAC-SHA256 "):
        raise Refusal(403, "AccessDenied", "not signed")
    fields = dict(part.strip().split("=", 1) for part in authorization.split(" ", 1)[1].split(","))
    access_key, date, region, service, _ = fields["Credential"].split("/")
    if access_key not in STATE.accounts:
        raise Refusal(403, "InvalidAccessKeyId", "the access key id does not exist")
    secret, token = STATE.accounts[access_key]
    if headers.get("x-amz-security-token", "") != token:
        raise Refusal(400, "ExpiredToken", "the provided token has expired")
    if region != REGION:
        raise Refusal(400, "AuthorizationHeaderMalformed", "wrong region", more=f"<Region>{REGION}</Region>")
    stamp = headers["x-amz-date"]
    signed_at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    if abs((signed_at - now()).total_seconds()) > 900:
        raise Refusal(403, "RequestTimeTooSkewed", "the clocks differ")
    for name in headers:
        signed = fields["SignedHeaders"].split(";")
        if name.lower().startswith("x-amz-") and name.lower() not in signed:
            raise Refusal(403, "AccessDenied", f"header {name} is not signed")
    request = AWSRequest(method, "http://" + headers["Host"] + target)
    for name in fields["SignedHeaders"].split(";"):
        request.headers[name] = headers[name]
    request.context["timestamp"] = stamp
    signer = S3SigV4Auth(Credentials(access_key, secret), service, region)
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if expected != fields["Signature"] or date != stamp[:8]:
        raise Refusal(403, "SignatureDoesNotMatch", "the signature is not the one that botocore computes")
    if headers["x-amz-content-sha256"] != hashlib.sha256(body).hexdigest():
        raise Refusal(400, "XAmzContentSHA256Mismatch", "the body is not what was signed")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    # Each request: read it whole, look for a fault, carry it out, answer.
    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urllib.parse.urlsplit(self.path)
        if url.path.startswith("/-/object/"):
            found = STATE.objects.get(split(url.path.removeprefix("/-/object")))
            self.answer(200 if found else 404, {}, found["data"] if found else b"", {})
            return
        if url.path.startswith("/-/"):
            self.control(body)
            return
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        fault = self.take_fault(url.path, query)
        try:
            if fault.get("hold"):
                STATE.released.wait()
            if fault.get("reset") == "before":
                self.reset()
                return
            if "status" in fault:
                raise Refusal(fault["status"], fault.get("code", "InternalError"), "as the test wants it")
            if url.path.startswith("/latest/"):
                status, headers, answer = self.metadata_service(url.path)
            else:
                check_signature(self.command, self.path, self.headers, body)
                with LOCK:
                    status, headers, answer = self.carry_out(self.path_with_bucket(url.path), query, body)
        except Refusal as refusal:
            status, headers = refusal.status, refusal.headers
            answer = (f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message>"
                      f"{refusal.more}</Error>").encode()
        with LOCK:
            STATE.requests.append({"method": self.command, "path": url.path, "query": url.query, "status": status,
                                   "range": self.headers.get("Range", "")})
        if fault.get("late_error"):
            answer, status = b"<Error><Code>InternalError</Code></Error>", 200
        if "then_put" in fault:
            bucket, key = split(url.path)
            put_object(bucket, key, fault["then_put"].encode(), {})
        if fault.get("reset") == "after":
            self.reset()
            return
        try:
            self.answer(status, headers, answer, fault)
        except ConnectionError:  # the client gave up
            self.close_connection = True

    def path_with_bucket(self, path):
        """Buckets may also be named by host, as BUCKET.localhost."""
        host = self.headers["Host"].partition(":")[0]
        return f"/{host.removesuffix('.localhost')}{path}" if host.endswith(".localhost") else path

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def answer(self, status, headers, body, fault):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", headers.get("Content-Length", str(len(body))))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.get("reset") == "midway":
            self.wfile.write(body[:len(body) // 2])
            self.wfile.flush()
            self.reset()
        elif fault.get("stall") == "midway":
            self.wfile.write(body[:len(body) // 2])
            self.wfile.flush()
            STATE.released.wait()
        else:
            self.wfile.write(body)

    def send_response(self, code, message=None):
        self.send_response_only(code, message)
        self.send_header("Date", now().strftime("%a, %d %b %Y %H:%M:%S GMT"))

    def reset(self):
        """RST, not FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.wfile = open("/dev/null", "wb")

    def take_fault(self, path, query):
        with LOCK:
            for fault in STATE.faults:
                if (fault.get("method", self.command) == self.command and fault.get("key", "") in path
                        and fault.get("query", "") in urllib.parse.urlsplit(self.path).query
                        and all(name not in query for name in fault.get("without", []))
                        and fault.get("times", 1) > 0):
                    if fault.get("skip", 0) > 0:
                        fault["skip"] -= 1
                        continue
                    fault["times"] = fault.get("times", 1) - 1
                    fault["sprung"] = fault.get("sprung", 0) + 1
                    return fault
        return {}

    # The operations.
    def carry_out(self, path, query, body):
        bucket, key = split(path)
        if bucket.startswith("no-"):
            raise Refusal(404, "NoSuchBucket")
        if bucket.startswith("forbidden-"):
            raise Refusal(403, "AccessDenied", "Access Denied")
        if not key and "list-type" in query:
            return self.list_objects(bucket, query)
        if not key:
            return self.list_uploads(bucket, query)
        if self.command == "PUT" and "uploadId" in query:
            upload = find_upload(query["uploadId"], bucket, key)
            upload["parts"][int(query["partNumber"])] = body
            return 200, {"ETag": etag_of(body)}, b""
        if self.command == "PUT":
            self.check_condition("put", bucket, key)
            put_object(bucket, key, body, self.metadata())
            return 200, {"ETag": etag_of(body)}, b""
        if self.command == "POST" and "uploads" in query:
            upload_id = uuid.uuid4().hex + "/+="
            STATE.uploads[upload_id] = {"bucket": bucket, "key": key, "metadata": self.metadata(), "parts": {},
                                        "initiated": iso_time(0)}
            return 200, {}, (f"<?xml version='1.0'?><InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId>"
                             f"</InitiateMultipartUploadResult>").encode()
        if self.command == "POST":
            return self.complete(bucket, key, query, body)
        if self.command == "DELETE":
            if "delete" in STATE.forbidden and "uploadId" not in query:
                raise Refusal(403, "AccessDenied", "Access Denied")
            if "uploadId" in query:
                find_upload(query["uploadId"], bucket, key)
                del STATE.uploads[query["uploadId"]]
            else:
                STATE.objects.pop((bucket, key), None)
            return 204, {}, b""
        return self.read(bucket, key)

    def complete(self, bucket, key, query, body):
        upload = find_upload(query["uploadId"], bucket, key)
        self.check_condition("complete", bucket, key)
        parts = [upload["parts"][number] for number in sorted(upload["parts"])]
        if any(len(part) < 1024 for part in parts[:-1]):  # S3: 5 MiB
            raise Refusal(400, "EntityTooSmall")
        if body.decode().count("<PartNumber>") != len(parts):
            raise Refusal(400, "InvalidPart")
        put_object(bucket, key, b"".join(parts), upload["metadata"])
        STATE.objects[(bucket, key)]["etag"] = f'"{len(parts)}-parts"'
        del STATE.uploads[query["uploadId"]]
        return 200, {}, b"<CompleteMultipartUploadResult/>"

    def read(self, bucket, key):
        found = STATE.objects.get((bucket, key))
        if found is None:
            raise Refusal(404, "NoSuchKey")
        if self.headers.get("If-Match", found["etag"]) != found["etag"]:
            raise Refusal(412, "PreconditionFailed")
        headers = {"ETag": found["etag"], **{"x-amz-meta-" + name: value for name, value in found["metadata"].items()}}
        data, status = found["data"], 200
        if "Range" in self.headers and "range" not in STATE.forbidden:
            data, status = data[int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")):], 206
        return status, {**headers, "Content-Length": str(len(data))}, data

    def list_uploads(self, bucket, query):
        if "list" in STATE.forbidden:
            raise Refusal(403, "AccessDenied", "Access Denied")
        items = "".join(
            f"<Upload><Key>{urllib.parse.quote(upload['key'])}</Key><UploadId>{upload_id}</UploadId>"
            f"<Initiated>{upload['initiated']}</Initiated></Upload>" for upload_id, upload in STATE.uploads.items()
            if upload["bucket"] == bucket and upload["key"].startswith(query.get("prefix", "")))
        return 200, {}, f"<ListMultipartUploadsResult>{items}</ListMultipartUploadsResult>".encode()

    def list_objects(self, bucket, query):
        if "list" in STATE.forbidden:
            raise Refusal(403, "AccessDenied", "Access Denied")
        prefix, delimiter = query["prefix"], query["delimiter"]
        items = "".join(
            f"<Contents><Key>{urllib.parse.quote_plus(key)}</Key><LastModified>{found['modified']}</LastModified></Contents>"
            for (owner, key), found in sorted(STATE.objects.items())
            if owner == bucket and key.startswith(prefix) and delimiter not in key[len(prefix):])
        return 200, {}, f"<ListBucketResult>{items}</ListBucketResult>".encode()

    def check_condition(self, operation, bucket, key):
        if self.headers.get("If-None-Match") == "*" and operation in STATE.knows and (bucket, key) in STATE.objects:
            raise Refusal(412, "PreconditionFailed")

    def metadata(self):
        prefix = "x-amz-meta-"
        return {name.lower()[len(prefix):]: value for name, value in self.headers.items()
                if name.lower().startswith(prefix)}

    def metadata_service(self, path):
        role = STATE.role
        if role is None:
            raise Refusal(404, "NotFound")
        if path == "/latest/api/token" and self.command == "PUT":
            return 200, {}, b"session"
        if self.headers.get("X-aws-ec2-metadata-token") != "session":
            raise Refusal(401, "Unauthorized")
        roles = "/latest/meta-data/iam/security-credentials/"
        if path == roles:
            return 200, {}, b"reader\n"
        if path == roles + "reader":
            return 200, {}, json.dumps(role).encode()
        raise Refusal(404, "NotFound")

    # What tests say.
    def control(self, body):
        order = json.loads(body)
        with LOCK:
            answer = getattr(self, "control_" + order.pop("op"))(**order)
        self.answer(200, {}, json.dumps(answer).encode(), {})

    def control_reset(self):
        global STATE
        STATE.released.set()
        STATE = State()

    def control_set(self, **values):
        for name, value in values.items():
            setattr(STATE, name, set(value) if isinstance(getattr(STATE, name), set) else value)

    def control_fault(self, **fault):
        STATE.faults.append(fault)

    def control_sprung(self):
        return sum(fault.get("sprung", 0) for fault in STATE.faults)

    def control_release(self):
        STATE.faults = []
        STATE.released.set()

    def control_put(self, bucket, key, data, metadata=None, age_s=0):
        put_object(bucket, key, data.encode(), metadata or {}, age_s)

    def control_begin_upload(self, bucket, key, age_s):
        STATE.uploads[f"old-{age_s}"] = {
            "bucket": bucket, "key": key, "metadata": {}, "parts": {},
            "initiated": iso_time(age_s)}

    def control_state(self):
        return {"objects": {f"{bucket}/{key}": {"bytes": len(found["data"]), "metadata": found["metadata"],
                                               "sha256": hashlib.sha256(found["data"]).hexdigest(),
                                               "written": found["written"]}
                            for (bucket, key), found in STATE.objects.items()},
                "uploads": list(STATE.uploads), "requests": STATE.requests}


def split(path):
    bucket, _, key = path[1:].partition("/")
    return urllib.parse.unquote(bucket), urllib.parse.unquote(key)


def iso_time(age_s):
    return (now() - datetime.timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def put_object(bucket, key, data, metadata, age_s=0):
    before = STATE.objects.get((bucket, key), {"written": 0})
    STATE.objects[(bucket, key)] = {"data": data, "metadata": metadata, "etag": etag_of(data),
                                    "modified": iso_time(age_s), "written": before["written"] + 1}


def find_upload(upload_id, bucket, key):
    upload = STATE.uploads.get(upload_id)
    if upload is None or (upload["bucket"], upload["key"]) != (bucket, key):
        raise Refusal(404, "NoSuchUpload")
    return upload


def use_tls(server, folder):
    files = [folder + "/cert.pem", folder + "/key.pem"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0],
                    "-keyout", files[1]], check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    server.socket = context.wrap_socket(server.socket, server_side=True)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if len(sys.argv) > 1:
        use_tls(server, sys.argv[1])
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
