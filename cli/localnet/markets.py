"""The regional markets by chain name: region letters (JR/T 0326-2024, table 1) and Chinese names (JR/T 0325-2024,
chain names).

The two standards name the regions independently; this table joins them. The five pilots come first, in the order of
`PILOTS`."""

from __future__ import annotations

PILOTS = ("beijing", "shanghai", "jiangsu", "zhejiang", "shenzhen")

REGIONS: dict[str, tuple[str, str]] = {
    "beijing": ("BJ", "北京"),
    "shanghai": ("SH", "上海"),
    "jiangsu": ("JS", "江苏"),
    "zhejiang": ("ZJ", "浙江"),
    "shenzhen": ("SZX", "深圳"),
    "tianjin": ("TJ", "天津"),
    "hebei": ("HE", "河北"),
    "shanxi": ("SX", "山西"),
    "neimenggu": ("NM", "内蒙古"),
    "liaoning": ("LN", "辽宁"),
    "jilin": ("JL", "吉林"),
    "heilongjiang": ("HL", "黑龙江"),
    "anhui": ("AH", "安徽"),
    "fujian": ("FJ", "福建"),
    "jiangxi": ("JX", "江西"),
    "shandong": ("SD", "山东"),
    "henan": ("HA", "河南"),
    "hubei": ("HB", "湖北"),
    "hunan": ("HN", "湖南"),
    "guangdong": ("GD", "广东"),
    "guangxi": ("GX", "广西"),
    "hainan": ("HI", "海南"),
    "chongqing": ("CQ", "重庆"),
    "sichuan": ("SC", "四川"),
    "guizhou": ("GZ", "贵州"),
    "yunnan": ("YN", "云南"),
    "shaanxi": ("SN", "陕西"),
    "gansu": ("GS", "甘肃"),
    "qinghai": ("QH", "青海"),
    "ningxia": ("NX", "宁夏"),
    "xinjiang": ("XJ", "新疆"),
    "dalian": ("DLC", "大连"),
    "ningbo": ("NGB", "宁波"),
    "xiamen": ("XMN", "厦门"),
    "qingdao": ("TAO", "青岛"),
}
"""Chain name -> (region letters, Chinese name)."""
