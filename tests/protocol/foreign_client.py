#!/usr/bin/env python3
"""A stranger's producer and worker, written from jobs/PROTOCOL.md alone, beside the real daemon on a private Redis.

What this file knows of the queue is what that text says: if a test here fails, either the protocol or its description
is wrong. Debian's python3-redis is the client. Environment: AUDIOBOOKD_PROGRAM and AUDIOBOOKD_MAKE_CHECKPOINT, the
built programs.
"""
import ctypes
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import redis

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "jobs/PROTOCOL.md").read_text()
QUEUES = ("high", "normal", "low")
DEADLINE_S = 120
LEASE_MS = 900
RETENTION_S = 2592000
JOB_SECTION = PROTOCOL.split("## The job")[1].split("## Keys")[0]
JOB_TABLE = [line.split("|")[1] for line in JOB_SECTION.splitlines() if "|" in line]
FIELDS = {name for row in JOB_TABLE for name in re.findall(r"`([a-z_]+)[.`]", row)}


def eventually(holds, what):
    """Asks again and again until `holds` gives something true, and gives that."""
    deadline = time.monotonic() + DEADLINE_S
    while not (answer := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_S} s: {what}")
        time.sleep(0.005)  # between two looks
    return answer


def start(command, **options):
    """A process that does not outlive this one."""
    return subprocess.Popen(command, preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL), **options)


class Redis:
    """A server of one test's own."""

    def __init__(self, folder):
        self.socket = str(folder / "redis.sock")
        self.process = start(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", str(folder), "--save", ""],
            stdout=subprocess.DEVNULL)
        eventually(lambda: self.answers(), "redis-server answers")

    def answers(self):
        try:
            return self.client().ping()
        except redis.ConnectionError:
            return False

    def client(self, user=None):
        password = user and f"{user}-password"
        return redis.Redis(unix_socket_path=self.socket, username=user, password=password, decode_responses=True)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Worker:
    """The worker's side of the protocol."""

    def __init__(self, client, name, known_v=1):
        self.client, self.name, self.known_v = client, name, known_v
        self.leases = 0
        version = client.get("tts:protocol")
        if version is None:
            client.set("tts:protocol", "1", nx=True)
        elif version != "1":
            raise RuntimeError(f"the queue speaks version {version}")

    def run(self, script, *arguments):
        text = "#!lua flags=allow-oom\n" + "".join(
            (ROOT / "jobs/lua" / f"{part}.lua").read_text() for part in ("common", script))
        arguments = [str(argument) for argument in arguments]
        try:
            return self.client.evalsha(hashlib.sha1(text.encode()).hexdigest(), 1, "tts:", *arguments)
        except redis.exceptions.NoScriptError:
            return self.client.eval(text, 1, "tts:", *arguments)

    def judge(self, payload):
        """(verdict, id or None, reason, the job as far as it was read)"""
        try:
            job = json.loads(payload)
        except (TypeError, ValueError):
            return "dead", None, "not JSON", {}
        if job.get("v", 1) > self.known_v:
            return "queued", job.get("id"), "", {"v": job["v"]}
        unknown = set(job) - FIELDS
        if unknown or "output" not in job or ("input" in job) == ("text" in job):
            return "dead", job.get("id"), f"unknown or missing fields: {sorted(unknown)}", {}
        return "queued", job.get("id"), "", job

    def register(self, queue, entry, payload, advance):
        verdict, own_id, reason, job = self.judge(payload)
        return self.run("intake", queue, entry, verdict, own_id or entry, "1" if own_id else "0", reason,
                        job.get("v", 1), job.get("max_attempts", 3), job.get("not_before", ""),
                        job.get("idempotency_key", ""), 604800,
                        job.get("output", ""), job.get("title", ""), advance)

    def intake(self):
        answers = []
        for queue in QUEUES:
            seen = self.client.hget("tts:intake", queue) or "0-0"
            for entry, fields in self.client.xrange(f"tts:q:{queue}", f"({seen}", "+", count=16):
                answers.append(self.register(queue, entry, fields.get("job"), "1"))
        return answers

    def claim(self, lowest="low", max_wait_ms=0, token=None):
        """The lease as a dictionary, or the name of another answer."""
        token = token or secrets.token_hex(16)
        while True:
            answer = self.run("claim", self.name, token, self.known_v, LEASE_MS, "0" if self.leases else "1", 60000,
                              RETENTION_S, lowest, max_wait_ms)
            if answer[0] == "intake":
                self.register(*answer[1:4], "0")
            elif answer[0] == "job":
                self.leases += 1
                names = ("id", "queue", "entry", "payload", "attempt", "suspect", "commit", "overdue")
                return dict(zip(names, answer[1:]), token=token)
            else:
                return answer[0]

    def heartbeat(self, lease, progress, eta=""):
        return self.run("heartbeat", lease["id"], self.name, lease["token"], "running", progress, eta, "", RETENTION_S)

    def commit(self, lease, fingerprint):
        return self.run("heartbeat", lease["id"], self.name, lease["token"], "committing", "", "", fingerprint,
                        RETENTION_S)

    def ended(self, answer):
        self.leases -= 1
        return answer

    def complete(self, lease, result="{}"):
        return self.ended(self.run("complete", lease["id"], self.name, lease["token"], result, RETENTION_S))

    def fail(self, lease, kind, reason, base_ms=1):
        return self.ended(
            self.run("fail", lease["id"], self.name, lease["token"], kind, reason, base_ms, 600000, RETENTION_S))

    def release(self, lease):
        return self.ended(self.run("release", lease["id"], self.name, lease["token"], RETENTION_S))

    def announce(self):
        return self.run("announce", self.name, json.dumps({"host": "elsewhere"}), 60)

    def control(self):
        return self.run("control", RETENTION_S)


class ForeignTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="audiobookd-foreign-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.redis = Redis(self.folder)
        self.addCleanup(self.redis.stop)
        self.admin = self.redis.client()
        for line in PROTOCOL.splitlines():
            if line.startswith("ACL SETUSER"):
                self.admin.execute_command(*line.split())
        self.producer = self.redis.client("producer")
        self.worker = self.make_worker("stranger")

    def make_worker(self, name, known_v=1):
        return Worker(self.redis.client("worker"), name, known_v)

    def add(self, queue="normal", **job):
        job.setdefault("output", job.get("id", "book") + ".mp3")
        if "input" not in job:
            job.setdefault("text", "It was late in the evening.")
        return self.producer.xadd(f"tts:q:{queue}", {"job": json.dumps(job)})

    def command(self, **fields):
        return self.producer.xadd("tts:control", fields)

    def record(self, job_id):
        return self.producer.hgetall(f"tts:job:{job_id}")

    def state(self, job_id):
        return self.record(job_id).get("state")

    def events_of(self, job_id):
        return [fields["event"] for _, fields in self.producer.xrange("tts:events") if fields["id"] == job_id]


class WorkerAlone(ForeignTest):
    def test_a_job_goes_its_way_to_done(self):
        self.add(id="tale", title="A tale")
        self.assertEqual(self.worker.intake(), [["queued", "tale", ""]])
        self.assertEqual(self.worker.intake(), [])
        self.assertEqual(self.state("tale"), "queued")
        lease = self.worker.claim()
        self.assertEqual((lease["id"], lease["queue"], lease["attempt"], lease["suspect"]),
                         ("tale", "normal", "1", "0"))
        self.assertEqual(json.loads(lease["payload"])["title"], "A tale")
        self.assertEqual(self.worker.heartbeat(lease, "0.5000", "90"), "held")
        record = self.record("tale")
        self.assertEqual((record["state"], record["progress"], record["eta"], record["owner"]),
                         ("running", "0.5000", "90", "stranger"))
        self.assertEqual(record["token"], hashlib.sha1(lease["token"].encode()).hexdigest())
        self.assertEqual(self.worker.commit(lease, "sha:1"), "held")
        self.assertEqual(self.state("tale"), "committing")
        self.assertEqual(self.worker.complete(lease, '{"seconds":1}'), "held")
        self.assertEqual(self.record("tale")["result"], '{"seconds":1}')
        self.assertEqual(self.events_of("tale"), ["queued", "running", "committing", "done"])
        self.assertEqual(self.admin.xlen("tts:q:normal"), 0)
        self.assertTrue(0 < self.admin.ttl("tts:job:tale") <= RETENTION_S)
        self.assertEqual(self.producer.zrange("tts:jobs", 0, -1), ["tale"])
        self.assertEqual(self.worker.claim(), "none")

    def test_queues_are_served_in_strict_order_unless_a_job_waited_too_long(self):
        for queue in reversed(QUEUES):
            self.add(queue, id=f"of-{queue}")
        self.worker.intake()
        self.assertEqual(self.producer.zrange("tts:ready:low", 0, -1), ["of-low"])
        ready_at = float(self.record("of-low")["ready_at"])
        seconds, microseconds = self.admin.time()
        long_ago = seconds * 1000 + microseconds / 1000 - 2 * 3600000
        self.assertGreater(ready_at, long_ago)
        self.admin.zadd("tts:ready:low", {"of-low": long_ago})
        self.admin.hset("tts:job:of-low", "ready_at", int(long_ago))
        self.assertEqual(self.worker.claim(lowest="normal", max_wait_ms=3600000)["id"], "of-high")
        overdue = self.worker.claim(max_wait_ms=3600000)
        self.assertEqual((overdue["id"], overdue["overdue"]), ("of-low", "1"))
        self.assertEqual(self.worker.claim()["id"], "of-normal")
        self.assertEqual(self.worker.claim(), "none")

    def test_failures_are_retried_later_or_buried_and_can_be_requeued_and_purged(self):
        self.add(id="tale", max_attempts=2, idempotency_key="order-7")
        self.assertEqual(self.worker.fail(self.worker.claim(), "transient", "disk full", 3600000), "retry")
        self.assertEqual(self.state("tale"), "retry_wait")
        self.assertEqual(self.worker.claim(), "none")
        command = self.command(cmd="retry", id="tale")
        self.assertEqual(self.worker.control(), [["retry", "tale", "requeued"]])
        control = [fields for _, fields in self.producer.xrange("tts:events") if fields["event"] == "control"]
        self.assertEqual((control[0]["detail"], control[0]["command"]), ("retry: requeued", command))
        lease = self.worker.claim()
        self.assertEqual(lease["attempt"], "2")
        self.assertEqual(self.worker.fail(lease, "transient", "disk full"), "dead")
        letters = self.producer.xrange("tts:dead")
        self.assertEqual((letters[0][1]["id"], letters[0][1]["error"]), ("tale", "disk full"))
        self.command(cmd="retry", id="tale")
        self.worker.control()
        self.assertEqual(self.producer.xlen("tts:dead"), 0)
        self.assertIn("requeued", self.events_of("tale"))
        lease = self.worker.claim()
        self.assertEqual((lease["id"], lease["attempt"]), ("tale", "1"))
        self.assertEqual(self.worker.complete(lease), "held")
        self.command(cmd="purge", id="tale")
        self.assertEqual(self.worker.control(), [["purge", "tale", "purged"]])
        self.assertEqual(self.record("tale"), {})
        self.assertEqual(self.producer.zrange("tts:jobs", 0, -1), [])
        self.assertIsNone(self.admin.get("tts:idem:order-7"))
        purged = self.worker.client.xrange("tts:purged", "(0-0", "+")
        self.assertEqual([fields for _, fields in purged], [{"id": "tale"}])

    def test_a_failed_device_blames_its_jobs_which_run_alone_from_then_on(self):
        self.add(id="poison", max_attempts=1)
        self.add(id="other")
        lease, company = self.worker.claim(), self.worker.claim()
        self.assertEqual(self.worker.fail(lease, "crash", "CUDA error 700"), "retry")
        self.assertEqual(self.worker.release(company), "held")
        self.assertEqual(self.record("poison")["attempts"], "0")
        successor = self.make_worker("successor")
        alone = successor.claim()
        self.assertEqual((alone["id"], alone["suspect"]), ("poison", "1"))
        busy = self.make_worker("busy")
        self.assertEqual(busy.claim()["id"], "other")
        self.assertEqual(successor.fail(alone, "crash", "CUDA error 700"), "dead")

    def test_a_reply_that_was_lost_is_repeated(self):
        self.add(id="one")
        self.add(id="two")
        first = self.worker.claim(token="0123")
        self.worker.leases = 0
        self.assertEqual(self.worker.claim(token="0123"), first)
        self.assertEqual(self.worker.complete(first), "held")
        self.assertEqual(self.worker.complete(first, '{"n":2}'), "held")
        self.assertEqual(self.record("one")["result"], "{}")

    def test_duplicates_and_malformed_jobs_stop_nobody(self):
        self.add("high", id="tale", idempotency_key="order-7")
        self.add(id="tale")
        self.add(id="twin", idempotency_key="order-7")
        self.add(id="typo", ouput="a.mp3")
        nameless = self.producer.xadd("tts:q:low", {"job": "{"})
        self.assertEqual([answer[:2] for answer in self.worker.intake()],
                         [["queued", "tale"], ["duplicate", "tale"], ["duplicate", "twin"], ["dead", "typo"],
                          ["dead", nameless]])
        self.assertEqual(self.events_of("tale"), ["queued", "duplicate"])
        self.assertIn("ouput", self.record("typo")["error"])
        self.assertEqual(self.worker.claim()["id"], "tale")
        self.assertEqual(self.worker.claim(), "none")

    def test_a_worker_that_is_drained_gets_nothing_more(self):
        self.assertEqual(self.worker.announce(), "held")
        self.assertEqual(self.producer.zrange("tts:workers", 0, -1), ["stranger"])
        self.assertEqual(json.loads(self.producer.get("tts:worker:stranger")), {"host": "elsewhere"})
        self.add(id="tale")
        self.command(cmd="drain", worker="stranger")
        self.assertEqual(self.worker.control(), [["drain", "stranger", "draining"]])
        self.assertEqual(self.worker.announce(), "drain")
        self.assertEqual(self.worker.claim(), "drain")
        self.assertEqual(self.worker.run("retire", "stranger"), "held")
        self.assertEqual(self.producer.zrange("tts:workers", 0, -1), [])
        self.assertEqual(self.worker.claim()["id"], "tale")

    def test_a_producer_cannot_touch_what_is_not_its_own(self):
        self.add(id="tale")
        lease = self.worker.claim()
        for command in (["HSET", "tts:job:tale", "state", "done"], ["DEL", "tts:job:tale"], ["EVAL", "return 1", "0"],
                        ["XACK", "tts:q:normal", "render", lease["entry"]], ["ZREM", "tts:jobs", "tale"],
                        ["XADD", "tts:dead", "*", "id", "tale"], ["GET", "tts:claim:stranger"]):
            with self.assertRaises(redis.exceptions.NoPermissionError, msg=command):
                self.producer.execute_command(*command)


class BesideTheDaemon(ForeignTest):
    @classmethod
    def setUpClass(cls):
        cls.checkpoint = pathlib.Path(tempfile.mkdtemp(prefix="audiobookd-tiny-"))
        cls.addClassCleanup(shutil.rmtree, cls.checkpoint)
        subprocess.run([os.environ["AUDIOBOOKD_MAKE_CHECKPOINT"], "--preset", "tiny", "--out", cls.checkpoint],
                       check=True, stdout=subprocess.DEVNULL)

    def start_daemon(self):
        (self.folder / "files").mkdir(exist_ok=True)
        config = self.folder / "daemon.toml"
        config.write_text(
            f"[redis]\nurl = 'unix://worker:worker-password@{self.redis.socket}'\n[paths]\ninput_root = 'files'\n"
            f"output_root = 'files'\nchunk_store = 'chunks'\nchunk_store_gib = 1\nvoices = 'voices'\n[engine]\n"
            f"checkpoint = '{self.checkpoint}'\nmax_batch = 2\nsynthesis_batch = 2\ncpu_threads = 1\n[queue]\n"
            f"heartbeat_s = 0.2\nlease_s = {LEASE_MS / 1000}\n")
        log = open(self.folder / "log", "ab")
        self.addCleanup(log.close)
        daemon = start([os.environ["AUDIOBOOKD_PROGRAM"], "--config", config], stdout=log, stderr=log)
        self.addCleanup(lambda: (daemon.kill(), daemon.wait()))
        eventually(lambda: self.daemons(), "the daemon registered")
        return daemon

    def daemons(self):
        return [name for name in self.producer.zrange("tts:workers", 0, -1) if name not in ("stranger", "newer")]

    def wait_for(self, job_id, state):
        eventually(lambda: self.state(job_id) in (state, "dead"), f"{job_id} is {state}")
        self.assertEqual(self.state(job_id), state, self.record(job_id).get("error"))

    def test_a_producer_follows_its_job_to_the_mp3(self):
        listener = self.redis.client("producer").pubsub(ignore_subscribe_messages=True)
        listener.subscribe("tts:events:tale")
        self.start_daemon()
        self.add(id="tale", title="A tale")
        heard = []

        def hear_the_end():
            message = listener.get_message(timeout=0.1)
            if message:
                heard.append(json.loads(message["data"]))
            return message and heard[-1]["event"] == "done"

        eventually(hear_the_end, "the event done")
        self.assertEqual([event["event"] for event in heard if event["event"] != "progress"],
                         ["queued", "running", "committing", "done"])
        record = self.record("tale")
        self.assertEqual((record["state"], record["progress"]), ("done", "1"))
        self.assertGreater(json.loads(record["result"])["audio_seconds"], 0)
        self.assertEqual((self.folder / "files/tale.mp3").read_bytes()[:3], b"ID3")
        self.assertEqual(self.producer.zscore("tts:jobs", "tale"), float(record["created_at"]))

    def test_the_daemon_renders_what_a_silent_stranger_left(self):
        self.add(id="tale")
        lease = self.worker.claim()
        self.assertEqual(self.worker.heartbeat(lease, "0.1000"), "held")
        self.start_daemon()
        self.wait_for("tale", "done")
        self.assertIn("suspect: worker stranger vanished",
                      [fields["detail"] for _, fields in self.producer.xrange("tts:events")])
        self.assertEqual(self.worker.commit(lease, "sha:1"), "lost")
        self.assertEqual(self.worker.complete(lease), "lost")
        self.assertNotEqual(self.record("tale")["owner"], "stranger")

    def test_a_stranger_goes_on_with_what_a_killed_daemon_left(self):
        daemon = self.start_daemon()
        self.add(id="novel", text="\n\n".join(f"The keeper climbed up {n} steps again." for n in range(400)))
        self.wait_for("novel", "running")
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        self.assertEqual(self.worker.claim(), "none")
        reclaimed = eventually(lambda: self.worker.run("reclaim", LEASE_MS, RETENTION_S), "the lease expired")
        self.assertEqual([(job, state) for job, _, state in reclaimed], [("novel", "queued")])
        lease = self.worker.claim()
        self.assertEqual((lease["id"], lease["suspect"], lease["attempt"]), ("novel", "1", "1"))
        self.assertEqual(self.worker.commit(lease, "sha:1"), "held")
        self.assertEqual(self.worker.complete(lease), "held")
        self.assertEqual(self.state("novel"), "done")

    def test_the_daemon_leaves_newer_formats_to_newer_workers(self):
        daemon = self.start_daemon()
        self.add(id="later", v=2, something="new")
        self.add(id="now")
        self.wait_for("now", "done")
        record = self.record("later")
        self.assertEqual((record["state"], record["v"], record["attempts"]), ("queued", "2", "0"))
        daemon.send_signal(signal.SIGSTOP)  # it cannot take the lease away while this machine is slow
        newer = self.make_worker("newer", known_v=2)
        lease = newer.claim()
        self.assertEqual(lease["id"], "later")
        self.assertEqual(json.loads(lease["payload"])["something"], "new")
        self.assertEqual(newer.complete(lease), "held")

    def test_a_paused_daemon_takes_in_but_takes_nothing_and_a_drained_one_ends(self):
        daemon = self.start_daemon()
        self.command(cmd="pause")
        eventually(lambda: self.producer.exists("tts:paused"), "paused")
        self.add(id="tale")
        eventually(lambda: self.state("tale") == "queued", "taken in")
        self.assertEqual(self.worker.claim(), "paused")
        self.command(cmd="cancel", id="tale")
        eventually(lambda: self.state("tale") == "cancelled", "cancelled")
        self.command(cmd="resume")
        self.add(id="second")
        self.wait_for("second", "done")
        self.command(cmd="drain")
        self.assertEqual(daemon.wait(DEADLINE_S), 0)
        self.assertEqual(self.daemons(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
