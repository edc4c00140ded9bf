"""Sends one message of each kind with a vendor's library for Python: send.py VENDOR HOST WRITE_KEY"""

import sys

vendor, host, write_key = sys.argv[1:]
if vendor == "segment":
    from segment.analytics.client import Client
else:
    from rudderstack.analytics.client import Client

failures = []
client = Client(
    write_key,
    host=host,
    gzip=True,
    max_retries=0,
    upload_interval=0.05,
    on_error=lambda error, items: failures.append(error),
)
client.identify("u-1", {"email": "jane@example.com", "plan": "pro"})
client.track(anonymous_id="a-1", event="Order Completed", properties={"revenue": 39.95})
client.page("u-1", "Docs", "Install", {"url": "https://example.com/"})
client.screen("u-1", "Main", "Home", {"build": 7})
client.group("u-1", "g-1", {"name": "Initech"})
client.alias("a-1", "u-1")
client.flush()
client.join()
if failures:
    sys.exit(str(failures[0]))
