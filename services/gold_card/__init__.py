"""The Employment Gold Card (就業金卡): one application for four permits.

They are work permit, resident visa, alien resident certificate and re-entry permit.

Law: 外國專業人才延攬及僱用法 §9 and 外國特定專業人才申請就業金卡許可辦法, in editions by legal date. The
application goes to the National Immigration Agency, which reviews it jointly with the labour agency and,
for applicants abroad, with foreign affairs; a field's ministry is consulted where necessary. The modules
here are pure but for `flow`: forms, rules, fees, requests, notices and outcomes by the dates passed in.
"""
