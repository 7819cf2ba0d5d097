#!lua flags=no-writes,allow-oom
-- One page of dead letters, by the time of their death and, of one time, by their number; without bodies.
-- KEYS[1]  meta
-- ARGV[1]  letters a page   [2], [3] the first answer and the last number (8 bytes) of the page before; absent to begin
-- Returns  {time of the last letter's death; per letter: number (8 bytes), facts (see dead.lua)}, {} for none; fewer letters
--          than asked for are the last ones
-- Rules    changes nothing. By rank, letters that leave meanwhile would hide others: what is there from the first page to
--          the last comes once.
-- include: keys
local key, most, died, last, first = P .. 'dead:at', tonumber(ARGV[1]), ARGV[2], ARGV[3], 0
if died then
  -- The letter itself may be gone: the first of the same time with a higher number, or the first of a later time.
  first = call('ZCOUNT', key, '-inf', '(' .. died)
  local beyond = call('ZCOUNT', key, '-inf', died)
  while first < beyond do
    local middle = math.floor((first + beyond) / 2)
    if number_of(call('ZRANGE', key, middle, middle)[1]) > number_of(last) then
      beyond = middle
    else
      first = middle + 1
    end
  end
end
local found, ids = call('ZRANGE', key, first, first + most - 1, 'WITHSCORES'), {}
for i = 1, #found, 2 do
  ids[#ids + 1] = found[i]
end
if #ids == 0 then
  return {}
end
local reply, infos = { found[#found] }, call('HMGET', P .. 'dead:info', unpack(ids))
for i = 1, #ids do
  reply[2 * i], reply[2 * i + 1] = ids[i], infos[i]
end
return reply
