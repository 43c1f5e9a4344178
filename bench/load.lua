-- One POST of a small order with the fields that a service client usually sends. The environment
-- names the host and the request id; the closing line is one JSON object for bench/load.py.
wrk.method = "POST"
wrk.body = '{"order":"order-8841207","amount_minor":4250,"currency":"EUR","method":"card","token":"tok-5f2c9a"}'
wrk.headers["Host"] = os.getenv("BENCH_HOST")
wrk.headers["User-Agent"] = "checkout/3.2 (aiohttp)"
wrk.headers["Accept"] = "application/json"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br"
wrk.headers["Accept-Language"] = "de-AT,de;q=0.9,en;q=0.5"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Idempotency-Key"] = "4c0a7a2e-91b1-4b2b-8f0d-2f1f6f1f9e53"
wrk.headers["Traceparent"] = "00-7d3c1b8ae4f5902164c8d0b3a9e7f612-3fa9c27d518be604-01"
wrk.headers["X-Request-Id"] = os.getenv("BENCH_REQUEST_ID")
wrk.headers["X-Tenant"] = "north-west"
wrk.headers["Cookie"] = "cart=b1946ac92492d2347c6235b4d2611184"

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"refused":%d,"broken":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
