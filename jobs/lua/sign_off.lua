-- sign_off: an owner's time slice is over. ARGV: kind, owner, wakeup timeout in ms, 1 to create a wakeup even if no job waits.
-- Returns the wakeups for waiting jobs.
local kind, owner, wakeup_timeout = ARGV[1], ARGV[2], tonumber(ARGV[3])
stop_serving(kind, owner)
local wakeups = wakeups_to_send(wakeup_timeout)
if #wakeups == 0 and ARGV[4] == '1' then
  local name = 'bell-' .. next_in_sequence()
  redis.call('ZADD', P .. 'bells:' .. kind, now + wakeup_timeout, name)
  wakeups = {kind, name}
end
return wakeups
