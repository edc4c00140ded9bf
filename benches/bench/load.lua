-- Sends prepared requests in turn. Everything is put together before the clock starts: per request
-- there is one look-up left, and for requests that no other may be like one concatenation.
-- Arguments: a file with a request a line (path, key and body with tabs between; a key is used with
-- one path), and the mark that is replaced in every request.

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  whole, heads, tails, at, sent = {}, {}, {}, number * 7919, 0
  local mark, starts = args[2], {}
  for line in io.lines(args[1]) do
    local path, key, body = line:match("^([^\t]*)\t([^\t]*)\t(.*)$")
    local start = starts[key]
    if not start then
      start = "POST " .. path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
        .. "\r\ncontent-type: application/json\r\nx-api-key: " .. key .. "\r\ncontent-length: "
      starts[key] = start
    end
    local text = start .. #body .. "\r\n\r\n" .. body
    local from, to = text:find(mark, 1, true)
    if from then
      heads[#heads + 1] = text:sub(1, from - 1)
      tails[#tails + 1] = text:sub(to + 1)
    else
      whole[#whole + 1] = text
    end
  end
  if #heads > 0 then
    request = unlike
  else
    request = like
  end
end

function like()
  at = at % #whole + 1
  return whole[at]
end

function unlike()
  at = at % #heads + 1
  sent = sent + 1
  local scattered = (sent * 2654435761) % 4294967296
  return heads[at] .. string.format("%08x-%08x-%014d", scattered, number, sent) .. tails[at]
end

function request()
  return ""
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format("RESULT %f %d %d", summary.requests / (summary.duration / 1e6),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(99)))
end
