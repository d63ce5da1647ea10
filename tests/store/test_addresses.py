"""No secret in an address is shown, however it is written."""

import pytest

from tp1.store.addresses import masked, masked_text

SECRET = "s3/cr@et:x"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"https://ana:{SECRET}@host:5000/path", "https://ana:***@host:5000/path"),
        (f"postgresql+psycopg2://tp1:{SECRET}@db:5432/tp1", "postgresql+psycopg2://tp1:***@db:5432/tp1"),
        ("https://t0ken@host", "https://***@host"),
        ("https://host/?token=t0ken&x=1", "https://host/?token=***&x=***"),
        ("https://host/?mail=t0ken@host", "https://***"),
        ("https://ana:t0ken?@host", "https://***"),
        (f"mysql://tp1:{SECRET}@db/tp1?ssl_key=t0ken", "mysql://tp1:***@db/tp1?ssl_key=***"),
        ("postgresql://tp1@db/tp1", "postgresql://tp1@db/tp1"),
        ("https://host:5000", "https://host:5000"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("mlruns", "mlruns"),
    ],
)
def test_secrets_are_masked(uri, shown):
    assert masked(uri) == shown
    text = masked_text(f"cannot reach '{uri}' (why)")
    assert text == f"cannot reach '{shown}' (why)"
    assert "t0ken" not in text
    assert SECRET not in text
