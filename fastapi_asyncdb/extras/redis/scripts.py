"""What the server does in one step: Lua scripts, which no other command interrupts.

A value is stored only by the holder of its lease. The writer of a row takes all leases of its keys
away, immediately before the COMMIT, and leaves a marker: as long as there is one, no lease is given.
https://redis.io/docs/latest/develop/programmability/eval-intro/

A tag is a random version. An entry has the versions of its tags, in a hash, and is valid as long as they
stay: so an invalidation needs no list of keys, which a server that is full could drop.
"""

from __future__ import annotations

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: value, lease, marker, then of each tag: version, marker.
# ARGV: token, milliseconds of the lease, 1 if the stored value is to be replaced, first and last byte of
# the stamp, milliseconds of a new version.
ACQUIRE = (
    _NOW
    + """
if redis.call('ZCOUNT', KEYS[3], now, '+inf') > 0 then return {3} end
local versions, complete = {}, true
for i = 4, #KEYS, 2 do
    if redis.call('ZCOUNT', KEYS[i + 1], now, '+inf') > 0 then return {3} end
    local version = redis.call('GET', KEYS[i])
    if not version then
        version, complete = ARGV[1], false
        redis.call('SET', KEYS[i], version, 'PX', ARGV[6])
    end
    versions[#versions + 1] = version
end
if redis.call('EXISTS', KEYS[2]) == 1 then return {2} end
if ARGV[3] == '0' and complete then
    local value = redis.call('GET', KEYS[1])
    local stamp = redis.sha1hex(table.concat(versions, ' '))
    if value and string.sub(value, ARGV[4], ARGV[5]) == stamp then return {1, value} end
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {0, versions}
"""
)

# KEYS: value, lease, then the version of each tag.
# ARGV: token, value, milliseconds that it lives (0 stores nothing), the versions of the tags.
# Returns whether the value is that of now: no writer has taken the lease away since it was given.
STORE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
for i = 3, #KEYS do
    if redis.call('GET', KEYS[i]) ~= ARGV[i + 1] then return 0 end
end
local ttl = tonumber(ARGV[3])
if ttl == 0 then return 1 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ttl)
for i = 3, #KEYS do
    if redis.call('PTTL', KEYS[i]) < ttl then redis.call('PEXPIRE', KEYS[i], ttl) end
end
return 1
"""

# KEYS: of each key: value, lease, marker; then of each tag: version, marker.
# ARGV: token, number of keys, milliseconds of the marker.
MARK = (
    _NOW
    + """
local function mark(key)
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - 1)
    redis.call('ZADD', key, now + ARGV[3], ARGV[1])
    redis.call('PEXPIRE', key, ARGV[3])
end
local first = ARGV[2] * 3 + 1
for i = 1, first - 1, 3 do
    redis.call('DEL', KEYS[i], KEYS[i + 1])
    mark(KEYS[i + 2])
end
for i = first, #KEYS, 2 do
    redis.call('DEL', KEYS[i])
    mark(KEYS[i + 1])
end
"""
)

# KEYS: as above. ARGV: token, number of keys, 1 after a commit.
# A marker that is gone has expired, or was never set: what was stored since may be the old value.
UNMARK = (
    _NOW
    + """
local function unmark(key)
    local expires = redis.call('ZSCORE', key, ARGV[1])
    redis.call('ZREM', key, ARGV[1])
    return ARGV[3] == '1' and (not expires or tonumber(expires) < now)
end
local first = ARGV[2] * 3 + 1
for i = 1, first - 1, 3 do
    if unmark(KEYS[i + 2]) then redis.call('DEL', KEYS[i], KEYS[i + 1]) end
end
for i = first, #KEYS, 2 do
    if unmark(KEYS[i + 1]) then redis.call('DEL', KEYS[i]) end
end
"""
)
