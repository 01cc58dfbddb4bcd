"""Runs a command with an S3 server of moto, which is told to check signatures and permissions, in its environment:

    with_moto.py COMMAND ARGUMENT…      {endpoint}, {bucket} and {region} in arguments are replaced

Needs moto in .deps/moto (`make setup`).
"""
import json
import os
import pathlib
import subprocess
import sys

DEPS = pathlib.Path(os.environ.get("AUDIOBOOKD_DEPS", pathlib.Path(__file__).resolve().parents[3] / ".deps"))
REGION = "eu-central-1"
BUCKET = "books"
UNCHECKED = 4  # requests before authentication is enforced: those of main()
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


def main():
    if not (DEPS / "moto").is_dir():
        sys.exit(f"{DEPS}/moto is missing: run `make setup`")
    sys.path.insert(0, str(DEPS / "moto"))
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = str(UNCHECKED)
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    common = {"endpoint_url": endpoint, "region_name": REGION, "aws_access_key_id": "none",
              "aws_secret_access_key": "none"}
    iam = boto3.client("iam", **common)
    iam.create_user(UserName="reader")
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    iam.put_user_policy(UserName="reader", PolicyName="books", PolicyDocument=json.dumps(POLICY))
    boto3.client("s3", **common).create_bucket(Bucket=BUCKET,
                                               CreateBucketConfiguration={"LocationConstraint": REGION})
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
                   "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    command = [word.format(endpoint=endpoint, bucket=BUCKET, region=REGION) for word in sys.argv[1:]]
    status = subprocess.run(command, env=environment, check=False).returncode
    server.stop()
    sys.exit(status)


if __name__ == "__main__":
    main()
