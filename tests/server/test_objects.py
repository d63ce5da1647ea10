"""The copy of all objects and back, against an S3 endpoint in this process."""

import io
import tarfile

import boto3
import pytest
from moto import mock_aws

from deploy import objects

CONTENTS = {
    "1/run/artifacts/config.json": b"{}",
    "1/run/artifacts/empty": b"",
    "1/models/m-1/artifacts/large": bytes(100_000),  # more than is kept in memory, below
    "1/run/artifacts/a name with spaces, é and %": b"x",
    "2/" + "deep/" * 40 + "file": b"beyond the 100 characters of old archives",
} | {f"3/{number:04d}": b"%d" % number for number in range(20)}  # more than a page, below


@pytest.fixture
def store(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("TP1_BUCKET", "tp1")
    with mock_aws():
        yield boto3.client("s3")


def read(store, bucket):
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key: store.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def test_every_object_comes_back_byte_by_byte(store, monkeypatch):
    monkeypatch.setattr(objects, "PAGE", 3)
    monkeypatch.setattr(objects, "IN_MEMORY", 10_000)
    objects.make_bucket(store, "tp1")
    objects.make_bucket(store, "tp1")  # there already
    for key, content in CONTENTS.items():
        store.put_object(Bucket="tp1", Key=key, Body=content)
    archive = io.BytesIO()
    assert objects.save(store, "tp1", archive) == len(CONTENTS)
    archive.seek(0)
    assert objects.load(store, "another", archive) == len(CONTENTS)
    assert read(store, "another") == CONTENTS


def test_what_goes_wrong_is_one_line(store, monkeypatch, capsys):
    assert objects.main(["make-bucket"]) == 0
    assert "bucket tp1 is there" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"no archive at all" * 100), encoding="utf-8"))
    assert objects.main(["load"]) == 1
    assert capsys.readouterr().err.startswith("Error: load: ")
    assert objects.main([]) == objects.main(["drop"]) == 2
    monkeypatch.setenv("TP1_BUCKET", "none")
    assert objects.main(["save"]) == 1
    assert "NoSuchBucket" in capsys.readouterr().err
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        archive.addfile(member := tarfile.TarInfo("a"), io.BytesIO(b""))
        member.size = 5000
        archive.addfile(member, io.BytesIO(bytes(5000)))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(whole.getvalue()[:3000]), encoding="utf-8"))
    assert objects.main(["load"]) == 1  # an archive that was cut off
