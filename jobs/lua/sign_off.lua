-- sign_off: an owner's time slice is over. ARGV: lane, owner, bell. Returns the rings for what it leaves behind.
redis.call('ZREM', lane_key(ARGV[1]) .. ':serving', ARGV[2])
touched[ARGV[1]] = true
return bells_to_ring(tonumber(ARGV[3]))
