-- take_back: return an owner's jobs to their lanes. ARGV: kind, owner, why, max_deaths, error body, wakeup timeout in ms,
-- not_after. An owner that died or left is deleted. Returns {clock, number of jobs, or -1 if it ran too late, wakeups}.
local kind, owner, why = ARGV[1], ARGV[2], ARGV[3]
if clock > tonumber(ARGV[7]) then return {clock, -1, {}} end
if why == 'died' or why == 'left' then redis.call('ZREM', P .. 'owners:' .. kind, owner) end
if why == 'died' then redis.call('DEL', P .. 'stopped:' .. owner) end
local count = take_back(kind, owner, why, tonumber(ARGV[4]), ARGV[5])
settle()
return {clock, count, wakeups_to_send(tonumber(ARGV[6]))}
