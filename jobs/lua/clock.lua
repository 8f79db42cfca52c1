-- The head of every ledger script: its keys, and the ledger's clock.
--
-- P is "<prefix>:2:", where 2 is the format of keys and records; keys.lua lists the keys.
--
--   P clock  hash  ahead       ms by which the ledger's time is ahead of Redis's clock
--                  reconciled  the ledger's time of the reconciler's last round
--
-- Time is in milliseconds, and does not step when Redis's clock is set. It never goes back: the first script that writes after
-- such a step ensures that. Only the reconciler can distinguish a step forward from elapsed time, because it has its own clock
-- and checks twice a second. Until it has checked, the time is unsure, and nothing expires.
local P = KEYS[1]
local UNSURE_AFTER = 3000
local server_time = redis.call('TIME')
local kept_clock = redis.call('HMGET', P .. 'clock', 'ahead', 'reconciled')
local wall, ahead = server_time[1] * 1000 + math.floor(server_time[2] / 1000), tonumber(kept_clock[1] or 0)
local last_round = tonumber(kept_clock[2])
local clock = wall + ahead
local now = math.max(clock, last_round or clock)
local unsure = last_round and clock > last_round + UNSURE_AFTER

-- After Redis's clock was set back, the ledger's time continues from where it was.
local function keep_clock()
  if clock < now then
    redis.call('ZREM', P .. 'finished', '')  -- the first write; see finalize in ends.lua
    redis.call('HSET', P .. 'clock', 'ahead', ahead + now - clock)
  end
end
