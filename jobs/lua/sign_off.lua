-- sign_off: an owner's time slice is over. ARGV: kind, owner, bell, 1 to be knocked for again even if nothing waits.
-- Returns the rings for what it leaves behind.
local kind, owner, bell = ARGV[1], ARGV[2], tonumber(ARGV[3])
stop_serving(kind, owner)
local rings = bells_to_ring(bell)
if #rings == 0 and ARGV[4] == '1' then
  local name = 'bell-' .. next_in_sequence()
  redis.call('ZADD', P .. 'bells:' .. kind, now + bell, name)
  rings = {kind, name}
end
return rings
