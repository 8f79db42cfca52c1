-- The ledger's keys.
--
--   P job:<id>                      hash  the record
--   P lane:<lane>                   hash  jobs, rows, bytes that wait
--   P lane:<lane>:groups            zset  groups that may be claimed -> turn (lowest next)
--   P lane:<lane>:waiting:<group>   zset  ids that wait -> place
--   P bells:<kind>                  zset  wakeups in flight -> expiry
--   P serving:<kind>                zset  owners that are working or idle -> expiry
--   P lingering:<kind>              zset  idle owners, which wait for a wakeup -> expiry
--   P back:<kind>                   zset  working owners -> when they expect to claim again
--   P woken:<kind>                  zset  idle owners that were woken up and have not claimed yet -> expiry
--   P wake:<owner>                  list  wakeups of an idle owner
--   P bulk:<kind>                   hash  owner, since: the last claim of a backlog; until: when the next claim is allowed
--   P asked:<kind>                  time of the last claim of other groups than the backlog
--   P starved:<kind>                time since when jobs have waited without a serving owner
--   P unloadable:<kind>             hash  groups that a worker could not load -> expiry, and why
--   P loadable:<kind>               hash  those of these groups that another worker has loaded -> expiry
--   P seen                          hash  kind -> when one of its workers last renewed its lease
--   P reports                       hash  problems outside the ledger, reported by a part -> expiry, and details
--   P owners:<kind>                 zset  live worker processes -> end of lease
--   P owner:<owner>                 string  token of the current claim
--   P held:<owner>                  zset  ids that the owner holds -> order of the claim
--   P after:<id>                    set   "<lane> <group>" that wait for this job to end
--   P finished                      zset  final ids -> time
--   P memory                        hash  see memory.lua;  P clock: see clock.lua
--   P store                         where the trainings store models and data, for other programs that use them
--   P jobs:<caller>                 zset  every id of that caller -> place, for lists; caller: the id of an API key, or nothing
--   P key:<caller>:<hash>           string  "<id> <fingerprint>" of an Idempotency-Key, exists as long as the record
--   P deadlines                     zset  ids that expire unless they have started -> deadline
--   P canceling:<kind>              zset  owners that hold a job that is being canceled -> since when
--   P stopped:<owner>               string  the owner may not claim: its process is being ended
--   P speed:<lane>                  string  jobs per second of one owner, as a moving average
--   P delayed                       zset  failed deliveries (jobs "wh-<id>" of the lane webhook) -> time of the next attempt
--   P delayed:bytes                 bytes of their payloads
--   P failed                        list  failed ids that are to be logged;  P failed-unlogged: how many were dropped
--   P failed:<reader>               list  those that a reader is logging
--   P sequence, P secret, P finals (channel: records that became final)
--
-- A job waits in (lane, group), a group being "<model>/<version>".

local MAX_ARGUMENTS = 500  -- in one command
local MAX_GROUPS_READ = 20  -- groups

local function job_key(id) return P .. 'job:' .. id end
local function lane_key(lane) return P .. 'lane:' .. lane end
local function kind_of(lane) return string.match(lane, '^[^.]+') end

-- Reserves ``count`` numbers in a row, and returns the last of them.
local function next_in_sequence(count) return redis.call('INCRBY', P .. 'sequence', count or 1) end

-- Runs a command for many members in parts, because unpack has a limit.
local function in_parts(command, key, members)
  for first = 1, #members, MAX_ARGUMENTS do
    redis.call(command, key, unpack(members, first, math.min(first + MAX_ARGUMENTS - 1, #members)))
  end
end
