-- condition: what is known of the service's parts, read in one step. ARGV: the kinds of workers.
-- Returns {ms since the reconciler's last round (-1: there never was one), why nothing is accepted ('': it is), bytes that jobs and
-- all else take but for results that may be forgotten, bytes that they may take (-1: not known), open jobs' bytes, per kind {live
-- workers, ms since one was last there (-1: never), ms for which work has waited with nobody at it}, and three flat lists: groups
-- that a worker of the first kind could not load and why, groups that one could, problems that parts have reported and what they say}.
local kinds = {}
for at, kind in ipairs(ARGV) do
  local seen = tonumber(redis.call('HGET', P .. 'seen', kind))
  local starved = tonumber(redis.call('GET', P .. 'starved:' .. kind))
  local waits = starved and starved < now and waiting_of(kind) > 0
  kinds[at] = {redis.call('ZCOUNT', P .. 'owners:' .. kind, now, '+inf'), seen and math.max(0, now - seen) or -1,
    waits and now - starved or 0}
end

-- Of a hash whose values are "<until when they hold> <text>".
local function holding(key)
  local found, all = {}, redis.call('HGETALL', P .. key)
  for at = 1, #all, 2 do
    local until_, text = string.match(all[at + 1], '^(%d+) ?(.*)$')
    if until_ and tonumber(until_) >= now then found[#found + 1], found[#found + 2] = all[at], text end
  end
  return found
end

local is = memory_now()
local bytes = redis.call('HMGET', P .. 'memory', 'finished', 'open')
return {last_round and math.max(0, now - last_round) or -1, is.full or '', is.taken - (bytes[1] or 0),
  is.room < math.huge and is.room or -1, tonumber(bytes[2] or 0), kinds,
  holding('unloadable:' .. ARGV[1]), holding('loadable:' .. ARGV[1]), holding('reports')}
