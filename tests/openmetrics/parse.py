"""Parses a scrape by the reference parsers. In: `openmetrics` or `text` as argument, the scrape on stdin. Out: the number of
families; or the parser's error, and the status is not 0."""

import sys
from importlib import import_module

PARSERS = {"openmetrics": "prometheus_client.openmetrics.parser", "text": "prometheus_client.parser"}

parser = import_module(PARSERS[sys.argv[1]])
print(sum(1 for _ in parser.text_string_to_metric_families(sys.stdin.read())))
