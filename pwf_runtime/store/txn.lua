-- One mini-transaction on one run: look, compare, then do the one list of operations or the other.
--
-- It knows no call, join or lease rule of the protocol: those are in core/, once.
--
--   KEYS[1]     the hash with the run's fields
--   KEYS[2...]  the keys of leases: first those compared, then those that operations name by their number
--   ARGV[1]     what to do, as JSON:
--                 1 fields to look at: those compared, then those that THEN adds to, then those that OTHERWISE adds to
--                 2 for each field compared the number of its value in ARGV, false where it must be missing, or true
--                   where it must be there, whatever it holds
--                 3 for each lease compared its token, or false where nobody may hold it
--                 4, 5 how many fields THEN and OTHERWISE add to
--                 6, 7 the operations of THEN and of OTHERWISE, each [name, ...]
--   ARGV[2...]  values: bytes of any kind, which JSON could not carry
--
-- Reply: {1 or 0, the reply of each operation that has one}.
--
-- Nothing is rolled back when a command fails, so what can fail is looked at before the first write: a field that will
-- be added to holds a number, or nothing is done.

local CHUNK = 4000 -- unpack() gives up at some 8000

local run = KEYS[1]
local plan = cjson.decode(ARGV[1])

-- Call `command` with list[first], list[first + 1] ... in pieces.
local function each_piece(command, list, first)
  for i = first, #list, CHUNK do
    redis.call(command, run, unpack(list, i, math.min(i + CHUNK - 1, #list)))
  end
end

local function no_number(field)
  return redis.error_reply('PWFNUMBER the field ' .. field .. ' holds no number')
end

-- How long a list is, or nothing if its length is none.
local function length_of(list)
  return tonumber(redis.call('HGET', run, list .. '#') or 0)
end

-- The values of the fields list[first], list[first + 1] ...; false for one that is missing.
local function fetch(list, first)
  local count = #list - first + 1
  if count <= 0 then
    return {}
  elseif count <= CHUNK then
    return redis.call('HMGET', run, unpack(list, first))
  end
  local values = {}
  for i = first, #list, CHUNK do
    for _, value in ipairs(redis.call('HMGET', run, unpack(list, i, math.min(i + CHUNK - 1, #list)))) do
      values[#values + 1] = value
    end
  end
  return values
end

-- ── look and compare ─────────────────────────────────────────────────────────────────────────

local fields, expected, tokens = plan[1], plan[2], plan[3]
local found = fetch(fields, 1)
local held = true

for i = 1, #expected do
  local wanted = expected[i]
  if wanted == true then
    held = found[i] ~= false
  else
    held = found[i] == (wanted and ARGV[wanted])
  end
  if not held then
    break
  end
end
for i = 1, #tokens do
  if redis.call('GET', KEYS[1 + i]) ~= tokens[i] then
    held = false
    break
  end
end

local first_sum = #expected + (held and 0 or plan[4])
for i = first_sum + 1, first_sum + plan[held and 4 or 5] do
  local number = found[i]
  if number and number ~= '0' and (#number > 18 or not string.find(number, '^-?[1-9]%d*$')) then
    return no_number(fields[i])
  end
end

-- ── do ───────────────────────────────────────────────────────────────────────────────────────

local replies = { held and 1 or 0 }

for _, op in ipairs(plan[held and 6 or 7]) do
  local name = op[1]
  if name == 'put' then -- field, number of the value, field, number ...
    for i = 3, #op, 2 do
      op[i] = ARGV[op[i]]
    end
    each_piece('HSET', op, 2)
  elseif name == 'get' then -- field ...
    replies[#replies + 1] = fetch(op, 2)
  elseif name == 'add' then -- field, delta
    local total = redis.call('HINCRBY', run, op[2], op[3])
    if total > 9007199254740991 or total < -9007199254740991 then
      total = redis.call('HGET', run, op[2]) -- as a Lua number it is rounded
    end
    replies[#replies + 1] = total
  elseif name == 'append' then -- list, number of the value
    local length = redis.call('HINCRBY', run, op[2] .. '#', 1)
    redis.call('HSET', run, op[2] .. ':' .. length - 1, ARGV[op[3]])
    replies[#replies + 1] = length
  elseif name == 'delete' then -- field ...
    each_piece('HDEL', op, 2)
  elseif name == 'length' then -- list
    local length = length_of(op[2])
    if not length then
      return no_number(op[2] .. '#')
    end
    replies[#replies + 1] = length
  elseif name == 'range' then -- list, start, stop
    local names, length = {}, length_of(op[2])
    if not length then
      return no_number(op[2] .. '#')
    end
    for i = op[3], math.min(op[4], length) - 1 do
      names[#names + 1] = op[2] .. ':' .. i
    end
    replies[#replies + 1] = fetch(names, 1)
  elseif name == 'lease' then -- number of the key, token, ttl_ms
    redis.call('SET', KEYS[op[2]], op[3], 'PX', op[4])
  elseif name == 'release' then -- number of the key
    redis.call('DEL', KEYS[op[2]])
  elseif name == 'holder' then -- number of the key
    local token = redis.call('GET', KEYS[op[2]])
    replies[#replies + 1] = token and { token, redis.call('PTTL', KEYS[op[2]]) }
  elseif name == 'keep' then -- list of further names, field ...
    -- The hash goes as a whole and comes back small: to name what goes would take a pass over all of it. What comes
    -- back is ready before anything is removed.
    local items = {}
    for i = 0, tonumber(redis.call('HGET', run, op[2] .. '#') or 0) - 1 do
      items[#items + 1] = op[2] .. ':' .. i
    end
    for _, further in ipairs(fetch(items, 1)) do
      op[#op + 1] = further or nil
    end
    local values, kept = fetch(op, 3), {}
    for i, value in ipairs(values) do
      if value then
        kept[#kept + 1] = op[i + 2]
        kept[#kept + 1] = value
      end
    end
    local ms_left = redis.call('PTTL', run)
    redis.call('UNLINK', run)
    each_piece('HSET', kept, 1)
    if ms_left >= 0 then
      redis.call('PEXPIRE', run, ms_left)
    end
  elseif name == 'expire' then -- ttl_ms
    redis.call('PEXPIRE', run, op[2])
  elseif name == 'persist' then
    redis.call('PERSIST', run)
  elseif name == 'clear' then
    redis.call('UNLINK', run)
  elseif name == 'scan' then -- cursor, limit
    replies[#replies + 1] = redis.call('HSCAN', run, op[2], 'COUNT', op[3])
  else
    return redis.error_reply('PWFOP unknown operation ' .. name) -- only from a client at odds with this file
  end
end

return replies
